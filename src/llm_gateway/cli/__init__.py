"""The command line, `llm-gateway`: serve, demo, backup, migrate, credential."""

from llm_gateway.cli.entry_point import main

__all__ = ["main"]
