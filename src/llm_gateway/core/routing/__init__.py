"""Routing rules as values: load balancing, circuit breakers, retries."""
