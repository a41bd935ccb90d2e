"""The command line tells what is wrong in one line, and newcomers what to do next."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llm_gateway import __version__
from llm_gateway.cli import commands
from llm_gateway.cli.failures import explain
from llm_gateway.cli.programs import demo_settings
from llm_gateway.cli.reading_settings import WrongSettings, read_settings
from llm_gateway.cli.texts import demo_welcome, first_steps
from llm_gateway.core.errors import Conflict
from llm_gateway.server.processes.listener import CannotServe
from llm_gateway.settings import Settings

URL = "http://127.0.0.1:18000"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of this machine, and no .env."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


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


def test_a_secret_setting_is_named_and_not_shown() -> None:
    with pytest.raises(WrongSettings) as caught:
        # Not what an environment can hold, yet what pydantic complains about.
        raise_for(admin_key=["hush"])
    assert caught.value.lines[0].startswith("ADMIN_KEY: ")
    assert "hush" not in str(caught.value)


def raise_for(**values: object) -> None:
    from pydantic import ValidationError

    from llm_gateway.cli import reading_settings

    try:
        Settings.model_validate(values)
    except ValidationError as error:
        raise WrongSettings(
            tuple(reading_settings._explain(dict(fault)) for fault in error.errors())
        ) from None


def test_an_env_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PORT=\xff\xfe\n")
    with pytest.raises(WrongSettings, match=r"\.env is not UTF-8"):
        read_settings()


def test_failures_that_an_operator_can_mend_are_explained() -> None:
    assert explain(CannotServe("the port")) == (2, ("the port",))
    assert explain(WrongSettings(("a", "b"))) == (2, ("a", "b"))
    assert explain(Conflict("it is there already")) == (1, ("it is there already",))
    assert explain(ValueError("a fault of ours")) is None


def test_the_demo_touches_nothing_but_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DB_URL", "REDIS_URL", "SECRET_KEY"):
        monkeypatch.setenv(name, "whatever")
    monkeypatch.setenv("AUTO_MIGRATE", "false")
    monkeypatch.setenv("DATA_DIR", "/somewhere")
    settings = demo_settings(read_settings())
    assert settings.data_dir == Path("/somewhere/demo")
    assert (settings.db_url, settings.redis_url, settings.secret_key, settings.auto_migrate) == (
        None,
        None,
        None,
        True,
    )


def curl_commands(text: str) -> list[list[str]]:
    """Return the words of every curl command in a text, as a shell would see them."""
    joined = text.replace("\\\n", " ")
    return [shlex.split(match) for match in re.findall(r"^curl (?:[^'\n]|'[^']*')*", joined, re.MULTILINE)]


def test_the_first_steps_are_commands_that_work_as_printed() -> None:
    text = first_steps(URL, Path("my data/admin_key"), "sk-made-up")
    provider, credential, chat = curl_commands(text)
    assert provider[1] == f"{URL}/admin/v1/providers"
    assert credential[1] == f"{URL}/admin/v1/credentials"
    assert chat[1] == f"{URL}/v1/chat/completions"
    assert "Authorization: Bearer $(cat my data/admin_key)" not in text
    assert "Authorization: Bearer $(cat 'my data/admin_key')" in text
    assert json.loads(credential[-1])["key"] == "sk-made-up"
    assert "Authorization: Bearer sk-made-up" in chat
    assert set(json.loads(provider[-1])) == {"provider_key", "provider_type", "api_base", "api_key"}
    assert json.loads(chat[-1])["model"]


def test_the_first_steps_name_the_variable_when_the_key_came_from_it() -> None:
    assert "Bearer $ADMIN_KEY" in first_steps(URL, None, "sk-made-up")


def test_the_demo_welcome_streams_with_curl_and_with_the_sdk() -> None:
    text = demo_welcome(URL, "sk-demo", "demo")
    (curl,) = curl_commands(text)
    assert curl[1:3] == ["-N", f"{URL}/v1/chat/completions"]
    assert "Authorization: Bearer sk-demo" in curl
    assert json.loads(curl[-1]) | {"messages": []} == {"model": "demo", "stream": True, "messages": []}
    start = text.index("from openai")
    snippet = text[start : text.index("\n\n", text.index("for chunk"))]
    ast.parse(snippet)
    assert f'base_url="{URL}/v1", api_key="sk-demo"' in snippet
