"""Errors of the protocol itself: OpenAI's format, and whether a client should try again."""

from __future__ import annotations

import json

import pytest

from llm_gateway.server.http1.rejection import HttpRejection


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (400, {"x-should-retry": "false"}),
        (431, {"x-should-retry": "false"}),
        (501, {"x-should-retry": "false"}),
        (505, {"x-should-retry": "false"}),
        (408, {"retry-after": "1"}),
        (503, {"retry-after": "1"}),
        (500, {}),
    ],
)
def test_c44_a_client_learns_whether_waiting_helps(status: int, told: dict[str, str]) -> None:
    """SDKs repeat every 408 and 5xx, unless they are told not to."""
    head, _, body = HttpRejection(status, "a_code", "Words.").as_bytes("an-id").partition(b"\r\n\r\n")
    headers = dict(line.split(": ") for line in head.decode().split("\r\n")[1:])
    names = ("retry-after", "x-should-retry")
    assert {name: headers[name] for name in names if name in headers} == told
    assert (headers["connection"], int(headers["content-length"])) == ("close", len(body))
    assert json.loads(body)["error"]["code"] == "a_code"
