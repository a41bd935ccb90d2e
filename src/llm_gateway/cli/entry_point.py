"""Runs the command line; what serves takes a way of its own, without Typer."""

from __future__ import annotations

import sys

from llm_gateway.cli.serving import demo, serve


def main() -> None:
    """Run the command line and end the process with its exit code."""
    # A gateway would keep Typer for as long as it runs: 4 MB, and a twelfth of its start. These commands have no
    # options but --help, which is Typer's, like all else that the line may hold.
    arguments = sys.argv[1:]
    if arguments == ["serve"]:
        serve()
    if arguments == ["demo"]:
        demo()
    from llm_gateway.cli.commands import run  # noqa: PLC0415

    run()
