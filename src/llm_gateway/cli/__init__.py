"""The command line, `llm-gateway`: serve, demo, migrate, credential."""

from llm_gateway.cli.commands import main

__all__ = ["main"]
