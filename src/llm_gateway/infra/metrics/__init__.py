"""Prometheus metrics: counters shared between workers, and their text form."""

from llm_gateway.core.partial_imports import import_without

# It imports an HTTP server, WSGI and HTML for what else it offers; the first scrape imports it.
import_without("prometheus_client", "exposition")
