"""/metrics answers in Prometheus' text, unless a client says that it prefers JSON."""

from __future__ import annotations

import pytest

from llm_gateway.ops.metrics_endpoint import metrics_routes, prefers_json


@pytest.mark.parametrize(
    "accept",
    [
        ["application/json"],
        ["Application/JSON; charset=utf-8"],
        ["application/json, text/plain, */*"],
        ["text/html", "application/json"],
        ["application/json;q=0.9, text/plain;q=0.5"],
        ["text/plain;q=0.5, application/json"],
        [" application/json ;q=0.1"],
    ],
)
def test_c20_json_is_sent_to_those_who_ask_for_it(accept: list[str]) -> None:
    assert prefers_json([value.encode() for value in accept])


@pytest.mark.parametrize(
    "accept",
    [
        [],
        [""],
        ["*/*"],
        ["application/*"],
        ["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
        ["application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"],
        ["text/plain, application/json"],
        ["text/plain", "application/json;q=0.5"],
        ["application/json;q=0"],
        ["application/json;q=what"],
        ["application/json;q=nan"],
        ["application/jsonp", "application/problem+json"],
        ["\xff\xfe;;;=,,,"],
    ],
)
def test_c20_everybody_else_gets_the_text(accept: list[str]) -> None:
    assert not prefers_json([value.encode("latin-1") for value in accept])


async def test_both_are_served_with_their_type() -> None:
    [handler] = metrics_routes(lambda: lambda: b"text", "text/x", lambda: lambda: b"{}").exact.values()
    for accept, expected in (
        (b"*/*", (b"text/x", b"text")),
        (b"application/json", (b"application/json", b"{}")),
    ):
        sent: list[dict[str, object]] = []

        async def send(message: dict[str, object], sent: list[dict[str, object]] = sent) -> None:
            sent.append(message)

        scope = {"headers": [(b"accept", accept)]}
        await handler(scope, None, send, "id")  # type: ignore[arg-type]
        start, body = sent
        headers = dict(start["headers"])  # type: ignore[call-overload]
        assert (headers[b"content-type"], body["body"]) == expected
        assert headers[b"vary"] == b"accept"
        assert headers[b"content-length"] == b"%d" % len(expected[1])
