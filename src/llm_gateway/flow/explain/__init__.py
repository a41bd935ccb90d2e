"""Explains which providers a request would be sent to, and why."""
