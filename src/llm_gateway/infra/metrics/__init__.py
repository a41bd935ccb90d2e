"""Prometheus metrics: counters shared between workers, and their text form."""
