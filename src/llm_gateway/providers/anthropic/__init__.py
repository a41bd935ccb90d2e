"""The adapter for Anthropic's Messages API: requests, replies, and the capabilities of each model."""
