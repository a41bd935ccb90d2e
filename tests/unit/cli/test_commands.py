"""The commands and their options."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from llm_gateway import __version__
from llm_gateway.cli import commands


def test_the_version_is_shown() -> None:
    result = CliRunner().invoke(commands._cli, ["--version"])
    assert (result.exit_code, result.output) == (0, f"llm-gateway {__version__}\n")


@pytest.mark.parametrize(
    "command", [["serve"], ["demo"], ["migrate", "up"], ["credential", "create", "--name", "a"]]
)
def test_every_wrong_setting_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("PORT", "abc")
    monkeypatch.setenv("workers", "0")
    result = CliRunner().invoke(commands._cli, command)
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["PORT=abc", "WORKERS=0"]
