"""Token counting with tiktoken, off the event loop."""
