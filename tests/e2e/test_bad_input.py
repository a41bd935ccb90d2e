"""Bad input of any sort gets a clear 4xx in OpenAI's shape, and leaves the gateway well."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Desk

STORE_MATTERS = False

MESSAGES = '"messages": [{"role": "user", "content": "hi"}]'


def send(desk: Desk, content: bytes, path: str = "/v1/chat/completions", **headers: str) -> httpx.Response:
    given = {"content-type": "application/json"} | headers
    return desk.gateway.post(path, desk.key, content=content, headers=given)


def refused(answer: httpx.Response, status: int = 400) -> dict[str, Any]:
    """Check that an answer is a refusal in OpenAI's shape, and return its error."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    return error


NOT_JSON = {
    "empty": b"",
    "spaces": b"   ",
    "half": b'{"model": "m", "messages"',
    "text": b"model=m&messages=hi",
    "trailing garbage": b'{"model": "m", "messages": []} x',
    "two values": b'{"model": "m"}{"model": "n"}',
    "single quotes": b"{'model': 'm'}",
    "NaN": b'{"model": "m", "temperature": NaN, "messages": []}',
    "bad UTF-8": b'{"model": "m\xff", "messages": []}',
    "bad UTF-8 inside": b'{"model": "m", "messages": [{"role": "user", "content": "\xc3\x28"}]}',
    "UTF-16": '{"model": "m", "messages": []}'.encode("utf-16"),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + b'{"model": "m", "messages": []}',
    "control character": b'{"model": "m\x01", "messages": []}',
    "deep array": b'{"model": "m", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep array, unclosed": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}
NO_OBJECT = {"array": b"[]", "string": b'"model"', "number": b"12", "null": b"null", "true": b"true"}
WRONG = {
    "no model": (f"{{{MESSAGES}}}", "model"),
    "model is null": (f'{{"model": null, {MESSAGES}}}', "model"),
    "model is a number": (f'{{"model": 4, {MESSAGES}}}', "model"),
    "model is a list": (f'{{"model": ["m"], {MESSAGES}}}', "model"),
    "model is empty": (f'{{"model": "", {MESSAGES}}}', "model"),
    "stream is a text": (f'{{"model": "MODEL", "stream": "yes", {MESSAGES}}}', "stream"),
    "stream is a number": (f'{{"model": "MODEL", "stream": 1, {MESSAGES}}}', "stream"),
    "stream_options is a list": (
        f'{{"model": "MODEL", "stream": true, "stream_options": [], {MESSAGES}}}',
        "stream_options",
    ),
    "include_usage is a text": (
        f'{{"model": "MODEL", "stream": true, "stream_options": {{"include_usage": "x"}}, {MESSAGES}}}',
        "stream_options",
    ),
    "no messages": ('{"model": "MODEL"}', "messages"),
    "messages is a text": ('{"model": "MODEL", "messages": "hi"}', "messages"),
    "messages is null": ('{"model": "MODEL", "messages": null}', "messages"),
}


@pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_what_is_no_json(desk: Desk, content: bytes) -> None:
    lane = desk.provider(model_mapping={"m": "m", desk.model: "m"})
    refused(send(desk, content))
    assert lane.chats == []


@pytest.mark.parametrize("content", NO_OBJECT.values(), ids=NO_OBJECT.keys())
def test_what_is_no_object(desk: Desk, content: bytes) -> None:
    refused(send(desk, content))


@pytest.mark.parametrize(("text", "field"), WRONG.values(), ids=WRONG.keys())
def test_fields_of_the_wrong_type_are_named(desk: Desk, text: str, field: str) -> None:
    lane = desk.provider()
    error = refused(send(desk, text.replace("MODEL", desk.model).encode()))
    assert field in (error["param"] or "")
    assert field in error["message"]
    assert lane.chats == []


@pytest.mark.parametrize("value", ["1" + "0" * 5000, "1e999", "-0", '"\\ud800"', "0." + "1" * 5000])
def test_odd_values_are_the_providers_to_judge_or_refused(desk: Desk, value: str) -> None:
    """A value that the gateway does not act on goes upstream as it is, or is refused; it never breaks us."""
    lane = desk.provider()
    answer = send(desk, f'{{"model": "{desk.model}", "x_odd": {value}, {MESSAGES}}}'.encode())
    assert answer.status_code in {200, 400}, answer.text
    if lane.chats:
        assert value.encode() in lane.last.body


@pytest.mark.parametrize(
    "name", ["\\ud800", "a\\u0000b", "é", "x" * 100_000, "../../etc", "a b", "*", "gpt-*"]
)
def test_odd_model_names_are_no_models(desk: Desk, name: str) -> None:
    answer = send(desk, f'{{"model": "{name}", {MESSAGES}}}'.encode())
    assert answer.status_code in {400, 404}, answer.text
    refused(answer, answer.status_code)
    assert len(answer.content) < 2000


@pytest.mark.parametrize("field", ["model", "stream", "temperature", "messages"])
def test_duplicate_keys_judged_is_sent(desk: Desk, field: str) -> None:
    """A field given twice is refused, or the value that was judged is the one that goes upstream."""
    lane = desk.provider()
    pairs = {
        "model": (f'"{desk.model}"', '"forbidden-model"'),
        "stream": ("true", "false"),
        "temperature": ("0.25", "0.75"),
        "messages": ('[{"role":"user","content":"one"}]', '[{"role":"user","content":"two"}]'),
    }
    key = desk.credential("-narrow", allowed_models=[desk.model])
    base = {"model": f'"{desk.model}"', "messages": '[{"role":"user","content":"one"}]'}
    for first, second in (pairs[field], pairs[field][::-1]):
        rest = [f'"{name}": {value}' for name, value in base.items() if name != field]
        text = "{" + ", ".join([f'"{field}": {first}', *rest, f'"{field}": {second}']) + "}"
        answer = desk.gateway.post("/v1/chat/completions", key, content=text.encode())
        assert answer.status_code in {200, 400, 403, 404}
        if answer.status_code != 200:
            continue
        body = lane.last.body
        pairs_sent = json.loads(body, object_pairs_hook=list)
        assert [name for name, _ in pairs_sent].count(field) == 1, body
        sent = json.loads(body)
        if field == "model":
            assert sent["model"] == desk.upstream_model
        if field == "stream":
            streamed = answer.headers["content-type"].startswith("text/event-stream")
            assert sent["stream"] == streamed
    assert all(call.json["model"] == desk.upstream_model for call in lane.chats)


def test_escaped_field_names_are_the_same_field(desk: Desk) -> None:
    """`"mod\\u0065l"` is `"model"`: it is judged, and it is what goes upstream."""
    lane = desk.provider()
    text = f'{{"mod\\u0065l": "{desk.model}", {MESSAGES}}}'
    assert send(desk, text.encode()).status_code == 200
    assert lane.last.json["model"] == desk.upstream_model


def test_c37_too_large_is_413(strict_desk: Desk) -> None:
    lane = strict_desk.provider()
    limit = int(strict_desk.gateway.settings["MAX_BODY_BYTES"])
    big = json.dumps(strict_desk.body(filler="x" * limit)).encode()
    error = refused(send(strict_desk, big), 413)
    assert str(limit) in error["message"]
    # The same without a Content-Length.
    chunks = iter([big[:1000], big[1000:]])
    headers = {"authorization": f"Bearer {strict_desk.key}", "content-type": "application/json"}
    refused(strict_desk.gateway.http.post("/v1/chat/completions", headers=headers, content=chunks), 413)
    assert lane.chats == []
    just_under = json.dumps(strict_desk.body(filler="x" * (limit - 500))).encode()
    assert send(strict_desk, just_under).status_code == 200


def test_a_compressed_body_is_refused(desk: Desk) -> None:
    refused(send(desk, b"\x1f\x8b", **{"content-encoding": "gzip"}))


def raw(desk: Desk, data: bytes, *, half_close: bool = False) -> bytes:
    """Send bytes and return everything that comes back until the connection ends, within 10 s."""
    with socket.create_connection(("127.0.0.1", desk.gateway.port), timeout=10) as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        got = b""
        while part := connection.recv(65536):
            got += part
            if b"\r\n\r\n" in got and not half_close and b"connection: close" not in got.lower():
                break
        return got


def test_a_body_that_ends_early(desk: Desk) -> None:
    lane = desk.provider()
    body = json.dumps(desk.body()).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {desk.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body) + 10}\r\n\r\n"
    )
    got = raw(desk, head.encode() + body, half_close=True)
    assert not got or got.startswith(b"HTTP/1.1 400")
    assert lane.chats == []
    assert desk.chat().status_code == 200


def test_a_body_that_never_comes_is_408(strict_desk: Desk) -> None:
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {strict_desk.key}\r\n"
        "content-type: application/json\r\ncontent-length: 100\r\n\r\n{"
    )
    got = raw(strict_desk, head.encode())
    assert got.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in got.lower()


def test_expect_continue_is_answered(desk: Desk) -> None:
    lane = desk.provider()
    body = json.dumps(desk.body()).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {desk.key}\r\n"
        f"content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", desk.gateway.port), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert len(lane.chats) == 1


@pytest.mark.parametrize(
    "head",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /health HTTP/9.9\r\nhost: x\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: abc\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: x\r\nx-big: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: x\r\n" + b"".join(b"x-%d: 1\r\n" % n for n in range(200)) + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_by_name(desk: Desk, head: bytes) -> None:
    got = raw(desk, head)
    assert got.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505", b"HTTP/1.0 4")), got[:200]
    assert desk.gateway.http.get("/health").status_code == 200


def test_c37_refusals_are_rows_of_their_own(desk: Desk) -> None:
    desk.provider()
    narrow = desk.credential("-narrow", allowed_models=[])
    answers = {
        "invalid_json": send(desk, b"{"),
        "model_not_found": desk.chat(model=f"none-{desk.number}"),
        "model_not_allowed": desk.gateway.post("/v1/chat/completions", narrow, json=desk.body()),
    }
    for expected, answer in answers.items():
        row = desk.gateway.usage_row(answer.headers["x-request-id"])
        assert (row["outcome"], row["status_code"], row["error_type"]) == (
            "rejected",
            answer.status_code,
            expected,
        )
        assert (row["attempts"], row["provider"], row["total_tokens"]) == (0, None, None)
        name = f"desk-{desk.number}-narrow" if expected == "model_not_allowed" else desk.name
        assert row["credential"] == name


def test_who_has_no_key_cannot_fill_the_database(desk: Desk) -> None:
    answer = desk.gateway.post("/v1/chat/completions", "sk-wrong", json=desk.body())
    assert answer.status_code == 401
    assert desk.gateway.usage_rows(request_id=answer.headers["x-request-id"]) == []
    assert desk.gateway.access_line(answer.headers["x-request-id"])["error_type"] == "invalid_api_key"
    assert desk.gateway.metrics("llm_proxy_requests_total", status_code="401") > 0
