"""Function names that Gemini rejects are replaced in requests and restored in replies."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from llm_gateway.providers.gemini.adapter import GeminiAdapter
from llm_gateway.providers.gemini.kind import GEMINI
from llm_gateway.providers.gemini.names import FunctionNames, gemini_name
from tests.fakes.gemini_wire import encode_body, request
from tests.fakes.whole_replies import read_whole_reply

ADAPTER = GeminiAdapter(GEMINI)
ODD = ["3d_render", "-x", "a b", "größe", "", "x" * 65, "7" * 64, "mcp/server"]


def tools(*names: str) -> list[Any]:
    return [{"type": "function", "function": {"name": name}} for name in names]


@pytest.mark.parametrize("name", ["f", "_f", "get_weather", "a.b:c-d", "F1", "x" * 64])
def test_a_valid_name_is_unchanged(name: str) -> None:
    assert gemini_name(name) == name


@pytest.mark.parametrize("name", ODD)
def test_a_name_that_gemini_rejects_is_replaced_and_restored(name: str) -> None:
    made = gemini_name(name)
    assert re.fullmatch("[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}", made)
    assert FunctionNames(request(tools=tools("f", name))).original(made) == name
    body = json.dumps(
        {"candidates": [{"content": {"parts": [{"functionCall": {"name": made}}]}, "finishReason": "STOP"}]}
    ).encode()
    asked = request(tools=tools("f", name))
    (call,) = json.loads(ADAPTER.decode(body, asked).body)["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == name
    streamed = request(tools=tools("f", name), stream=True)
    assert json.dumps(name, ensure_ascii=False).encode() in read_whole_reply(ADAPTER, body, streamed)[0]


def test_different_names_stay_different() -> None:
    names = [*ODD, "4d_render", "x" * 66, "a/b", "a b "]
    assert len({gemini_name(name) for name in names}) == len(names)


def test_a_name_is_replaced_wherever_it_is_sent() -> None:
    name = "3d_render"
    call = {"id": "c", "type": "function", "function": {"name": name, "arguments": "{}"}}
    body = encode_body(
        tools=tools(name),
        tool_choice={"type": "function", "function": {"name": name}},
        messages=[
            {"role": "user", "content": "q"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "r"},
        ],
    )
    assert f'"{name}"' not in json.dumps(body)
    assert json.dumps(body).count(f'"{gemini_name(name)}"') == 4


def test_names_are_the_same_without_readable_tools() -> None:
    for fields in ({}, {"tools": 7}, {"tools": None}, {"tools": [{"type": "custom"}]}):
        assert FunctionNames(request(**fields)).original("f") == "f"
