"""Serves the application over HTTP: connection rules, processes, signals; known to the command line alone."""

from llm_gateway.core.partial_imports import import_without

# Its command line, which imports click: a megabyte.
import_without("uvicorn", "main")
