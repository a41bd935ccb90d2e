"""Streams that do more than relay: those that are replayed from the cache, and those that need no task."""
