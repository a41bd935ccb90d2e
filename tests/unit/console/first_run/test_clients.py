"""The lines for clients are valid in their languages, whatever the model is called."""

from __future__ import annotations

import ast
import json
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.console.first_run.clients import PLACEHOLDER, ClientSetup, clients

BASE = "https://gateway.example:8443/gw/v1"
# Names that end a string, begin a command, or mean something else in some language.
NAMES = (
    "gpt-4o-mini",
    "it's",
    'a "b" \\',
    "$(id)`id`",
    "</script><!--",
    "line\nbreak",
    "#{x}",
    "שלום \u202e",
    "🦜",
    "\x7f",
)


def of(base: str, model: str) -> dict[str, ClientSetup]:
    return {client.id: client for client in clients(base, model)}


def text_of(client: ClientSetup, label: str) -> str:
    return next(block.text for block in client.blocks if block.label.startswith(label))


def strings(source: str) -> set[object]:
    return {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}


@pytest.mark.parametrize("model", NAMES)
def test_python_lines_hold_the_address_the_model_and_a_place_for_the_key(model: str) -> None:
    found = of(BASE, model)
    for name in ("openai-python", "langchain", "llama-index"):
        assert {BASE, model, PLACEHOLDER, "Hello!"} <= strings(found[name].blocks[0].text)
    assert {BASE, f"openai/{model}", PLACEHOLDER} <= strings(found["litellm"].blocks[0].text)


@pytest.mark.parametrize("model", NAMES)
def test_files_of_programs_are_what_their_formats_allow(model: str) -> None:
    found = of(BASE, model)
    codex = tomllib.loads(text_of(found["codex"], "~/.codex"))
    assert codex["model"] == model
    assert codex["model_providers"][codex["model_provider"]] == {
        "name": "LLM gateway",
        "base_url": BASE,
        "env_key": "LLM_GATEWAY_KEY",
        "wire_api": "responses",
    }
    [one] = yaml.safe_load(text_of(found["continue"], "~/.continue"))["models"]
    assert (one["model"], one["apiBase"], one["apiKey"]) == (model, BASE, PLACEHOLDER)
    opencode = json.loads(text_of(found["opencode"], "opencode.json"))["provider"]["llm-gateway"]
    assert (list(opencode["models"]), opencode["options"]["baseURL"]) == ([model], BASE)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_a_shell_takes_the_model_for_nothing_else(model: str) -> None:
    found = of(BASE, model)
    command = shlex.split(found["curl"].blocks[0].text)
    assert command[:3] == ["curl", "-N", f"{BASE}/chat/completions"]
    assert f"Authorization: Bearer {PLACEHOLDER}" in command
    assert json.loads(command[-1])["model"] == model
    aider = shlex.split(found["aider"].blocks[0].text)
    assert aider[-3:] == ["aider", "--model", f"openai/{model}"]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("name", ["openai-js", "vercel"])
def test_javascript_can_be_parsed(tmp_path: Path, name: str) -> None:
    for number, model in enumerate(NAMES):
        file = tmp_path / f"{number}.mjs"
        file.write_text(of(BASE, model)[name].blocks[0].text)
        checked = subprocess.run(["node", "--check", file], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_every_client_has_an_id_of_its_own_and_a_place_for_the_key() -> None:
    found = clients(BASE, "m")
    assert len({client.id for client in found}) == len(found) == 12
    for client in found:
        assert any(PLACEHOLDER in block.text for block in client.blocks), client.name
        assert any(BASE in block.text for block in client.blocks), client.name
