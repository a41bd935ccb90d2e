"""Explains the route of a request."""
