"""The upstream accounts."""
