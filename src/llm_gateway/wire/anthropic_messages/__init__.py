"""Anthropic's Messages API: replies, events, usage."""
