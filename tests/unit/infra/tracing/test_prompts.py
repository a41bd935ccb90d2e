"""Prompts in OpenTelemetry's form, whichever form the client's have."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.infra.tracing.prompts import LARGEST, input_messages


def request(endpoint: EndpointName = "chat/completions", **fields: Any) -> ModelRequest:
    raw = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in fields.items()}
    return ModelRequest(endpoint, "m", False, False, raw)


def text(role: str, *contents: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": content} for content in contents]}


@pytest.mark.parametrize(
    ("fields", "messages"),
    [
        ({"messages": [{"role": "user", "content": "a"}]}, [text("user", "a")]),
        (
            {
                "messages": [
                    {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}
                ]
            },
            [text("system", "a")],
        ),
        ({"prompt": "a"}, [text("user", "a")]),
        ({"input": ["a", "b"]}, [text("user", "a"), text("user", "b")]),
        ({"input": [{"content": "a"}]}, [text("user", "a")]),
    ],
)
def test_texts_are_shown(fields: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    shown = input_messages(request(**fields))
    assert shown is not None
    assert json.loads(shown) == messages


@pytest.mark.parametrize(
    "fields",
    [{}, {"input": [1, 2]}, {"messages": None}, {"messages": [{"role": "user"}]}, {"prompt": "a" * LARGEST}],
)
def test_there_is_nothing_to_show(fields: dict[str, Any]) -> None:
    assert input_messages(request(**fields)) is None


def test_what_is_nested_too_deeply_is_not_shown() -> None:
    deep = ModelRequest(
        "chat/completions", "m", False, False, {"messages": msgspec.Raw(b"[" * 30_000 + b"]" * 30_000)}
    )
    assert input_messages(deep) is None
