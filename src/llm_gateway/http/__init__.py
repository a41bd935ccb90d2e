"""ASGI code that all HTTP packages share."""
