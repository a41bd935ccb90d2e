"""The printed commands work as printed."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path

from llm_gateway.cli.texts import demo_welcome, first_steps

URL = "http://127.0.0.1:18000"


def curl_commands(text: str) -> list[list[str]]:
    """Return the words of every curl command in a text, as a shell would see them."""
    joined = text.replace("\\\n", " ")
    return [shlex.split(match) for match in re.findall(r"^curl (?:[^'\n]|'[^']*')*", joined, re.MULTILINE)]


def test_the_first_steps_are_commands_that_work_as_printed() -> None:
    text = first_steps(URL, Path("my data/admin_key"), "sk-made-up", has_console=True)
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
    assert "Bearer $ADMIN_KEY" in first_steps(URL, None, "sk-made-up", has_console=False)


def test_the_demo_welcome_streams_with_curl_and_with_the_sdk() -> None:
    text = demo_welcome(URL, None, "sk-demo", "demo", has_console=True)
    (curl,) = curl_commands(text)
    assert curl[1:3] == ["-N", f"{URL}/v1/chat/completions"]
    assert "Authorization: Bearer sk-demo" in curl
    assert json.loads(curl[-1]) | {"messages": []} == {"model": "demo", "stream": True, "messages": []}
    start = text.index("from openai")
    snippet = text[start : text.index("\n\n", text.index("for chunk"))]
    ast.parse(snippet)
    assert f'base_url="{URL}/v1", api_key="sk-demo"' in snippet


def test_both_say_where_the_console_is_and_what_opens_it() -> None:
    steps = first_steps(URL, Path("data/admin_key"), "sk-made-up", has_console=True)
    assert f"Console: {URL}/console (sign in with the key in data/admin_key)" in steps
    demo = demo_welcome(URL, None, "sk-demo", "demo", has_console=True)
    assert f"Console: {URL}/console (sign in with ADMIN_KEY)" in demo
    assert "Console" not in demo_welcome(URL, None, "sk-demo", "demo", has_console=False)
