"""OpenAI's chat completions and legacy completions: requests, replies, usage."""
