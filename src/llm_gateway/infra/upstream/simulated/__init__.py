"""The built-in simulated provider: needs no network, for demos and tests."""
