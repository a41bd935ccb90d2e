"""The command line, `llm-gateway`: serve, demo, backup, migrate, credential."""

from llm_gateway.cli.commands import main

__all__ = ["main"]
