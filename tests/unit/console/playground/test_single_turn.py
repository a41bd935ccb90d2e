"""A chat's handler, asked within the process."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.requests import Request

from llm_gateway.console.playground.single_turn import ShownReply, ask, read_answer
from llm_gateway.http.types import Receive, Scope, Send


def reply(**message: Any) -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()


async def test_the_handler_gets_the_body_and_none_of_the_forms_headers() -> None:
    seen: dict[str, Any] = {}

    async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        seen.update(scope, body=(await receive())["body"], request_id=request_id)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": reply(content="Hel")[:20], "more_body": True})
        await send({"type": "http.response.body", "body": reply(content="Hel")[20:]})

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/console/playground",
        "headers": [(b"cookie", b"secret"), (b"content-length", b"999"), (b"x-forwarded-for", b"192.0.2.9")],
        "extensions": {"llm_gateway.exchange": object()},
        "llm_gateway.request_id": "request-1",
    }
    answer = await ask(handler, Request(scope), b"{}", {"x-llm-gateway-cache": "on"})
    assert answer == ShownReply(status=200, text="Hel", finish_reason="stop")
    assert seen["headers"] == [
        (b"x-forwarded-for", b"192.0.2.9"),
        (b"content-type", b"application/json"),
        (b"content-length", b"2"),
        (b"x-llm-gateway-cache", b"on"),
    ]
    assert (seen["body"], seen["request_id"], seen["extensions"]) == (b"{}", "request-1", {})


def test_reasoning_refusals_and_tool_calls_are_read() -> None:
    answer = read_answer(200, reply(refusal="No.", reasoning="Hm.", tool_calls=[{"id": "1"}]))
    assert (answer.text, answer.reasoning, json.loads(answer.tool_calls)) == ("No.", "Hm.", [{"id": "1"}])


def test_an_error_is_the_gateways_own_message() -> None:
    answer = read_answer(429, b'{"error": {"message": "Too many."}}')
    assert (answer.status, answer.problem) == (429, "Too many.")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'{"error": "x"}', b'{"error": {"message": 1}}', b"[" * 200_000],
    ids=["empty", "html", "list", "text", "number", "deep"],
)
def test_an_error_of_another_kind_says_its_status(body: bytes) -> None:
    assert read_answer(502, body).problem == "The gateway answered 502, and nothing else."


@pytest.mark.parametrize(
    "body", [b"{}", b'{"choices": []}', b'{"choices": [1]}', b'{"choices": [{"message": 5}]}']
)
def test_a_reply_of_an_unknown_shape_is_empty(body: bytes) -> None:
    assert read_answer(200, body) == ShownReply(status=200)
