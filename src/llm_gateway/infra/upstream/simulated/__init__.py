"""A built-in provider that needs no network, for demos and tests."""
