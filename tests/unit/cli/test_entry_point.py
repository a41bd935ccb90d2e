"""Which way a command line goes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from llm_gateway.cli import main
try:
    main()
finally:
    print("typer" in sys.modules)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # A setting that ends a command before it serves.
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=os.environ | {"PORT": "abc"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_what_serves_does_without_typer(command: str) -> None:
    done = run(command)
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert done.stderr.startswith("llm-gateway: PORT=abc: ")


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_they_have_their_help(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"Usage: llm-gateway {command} [OPTIONS]" in done.stdout
    assert done.stdout.endswith("True\n")


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_other_arguments_are_refused(command: str) -> None:
    done = run(command, "--port=1")
    assert done.returncode == 2
    assert "No such option: --port" in done.stderr
