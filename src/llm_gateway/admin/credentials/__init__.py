"""The clients' keys."""
