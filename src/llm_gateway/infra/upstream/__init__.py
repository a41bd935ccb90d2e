"""Transports to providers: real HTTP, and the built-in simulation."""
