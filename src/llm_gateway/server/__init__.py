"""Serves the application over HTTP: connection rules, processes, signals; known to the command line alone."""

import os

from llm_gateway.core.partial_imports import import_without

# The log that loguru would begin by itself takes 3 ms, and ends when the gateway's own begins.
os.environ.setdefault("LOGURU_AUTOINIT", "false")

# Its command line, which imports click: a megabyte.
import_without("uvicorn", "main")
