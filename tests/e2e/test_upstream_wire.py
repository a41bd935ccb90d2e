"""What providers do on the wire, well-behaved or not: framing, codings, redirects, sizes, reuse, back-pressure."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import time
from collections.abc import Iterator

import httpx
import msgspec
import pytest

from tests.e2e.conftest import Desk
from tests.e2e.gateway_process import eventually
from tests.fakes import openai_wire
from tests.fakes.script import Script, script
from tests.fakes.upstream import FakeUpstream

STORE_MATTERS = False


@pytest.fixture
def lonely() -> Iterator[FakeUpstream]:
    """Return a fake with an address of its own, to which no connection is open yet."""
    started = FakeUpstream().start()
    yield started
    started.stop()


def a_reply() -> bytes:
    return msgspec.json.encode(openai_wire.chat_completion(1, Script(text="plain"), {"model": "m"}, "lane"))


WIRES = {
    "chunked": Script(framing="chunked", split=7),
    "chunked with a trailer": Script(framing="chunked", trailer="x-checksum: abc\r\n"),
    "until close": Script(framing="close"),
    "an early hint": Script(early=b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
    "continue": Script(early=b"HTTP/1.1 100 Continue\r\n\r\n"),
    "one byte at a time": Script(split=1),
    "gzip": Script(body=gzip.compress(a_reply()), headers={"content-encoding": "gzip"}),
    "a charset": Script(content_type="application/json; charset=utf-8"),
    "no content type to speak of": Script(content_type="text/plain"),
    "201": Script(status=201),
}


@pytest.mark.parametrize("plan", WIRES.values(), ids=WIRES.keys())
def test_whole_replies_in_every_wrapping(desk: Desk, plan: Script) -> None:
    lane = desk.failing(plan)
    for _ in range(2):
        answer = desk.chat()
        assert answer.status_code == plan.status, answer.text
        assert answer.json()["object"] == "chat.completion"
        assert answer.headers["content-type"] == "application/json"
        assert "content-encoding" not in answer.headers
        assert answer.content == (a_reply() if plan.body else bytes(lane.last.sent))
        row = desk.gateway.usage_row(answer.headers["x-request-id"])
        assert (row["outcome"], row["total_tokens"], row["usage_source"]) == ("ok", 13, "provider")


@pytest.mark.parametrize(
    "plan",
    [
        Script(framing="close"),
        Script(trailer="x-checksum: abc\r\n"),
        Script(early=b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
        Script(split=-1),
        Script(split=1),
    ],
    ids=["until close", "trailer", "early hint", "at once", "byte by byte"],
)
def test_streams_in_every_wrapping(desk: Desk, plan: Script) -> None:
    desk.failing(plan)
    for _ in range(2):
        answer = desk.chat(stream=True)
        assert answer.status_code == 200, answer.text
        assert answer.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(desk: Desk, stream: bool, status: int) -> None:
    elsewhere = desk.fake.lane(f"elsewhere-{desk.number}")
    location = {"location": elsewhere.base_url + "/chat/completions"}
    lane = desk.failing(Script(status=status, headers=location, body=b"moved"))
    answer = desk.chat(stream=stream)
    assert answer.status_code == 502
    assert "elsewhere" not in answer.text + str(answer.headers)
    assert (len(lane.chats), len(elsewhere.chats)) == (1, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_over_max_reply_bytes_is_502(strict_desk: Desk, stream: bool) -> None:
    limit = int(strict_desk.gateway.settings["MAX_REPLY_BYTES"])
    lanes = [strict_desk.failing(Script(pieces=("q" * (limit * 4),)), name) for name in ("one", "two")]
    answer = strict_desk.chat(stream=stream)
    # Another provider would send as much.
    assert sum(len(lane.chats) for lane in lanes) == 1
    if stream and answer.status_code == 200:
        assert "[DONE]" not in answer.text
        assert '"error"' in answer.text
    else:
        assert answer.status_code == 502
        assert answer.json()["error"]["code"] == "upstream_bad_reply"
    assert len(answer.content) < limit * 4


def test_s0_4_connections_to_a_provider_are_kept_and_used_again(desk: Desk, lonely: FakeUpstream) -> None:
    lane = lonely.lane("kept")
    desk.provider("kept", api_base=lane.base_url)
    for number in range(12):
        assert desk.chat(stream=number % 2 == 0).status_code == 200
    assert lonely.accepted <= 2


def test_a_stream_that_was_left_gives_no_connection_back(desk: Desk, lonely: FakeUpstream) -> None:
    """What a departed client left unread never becomes part of the next answer."""
    lane = lonely.lane("left")
    desk.provider("left", api_base=lane.base_url)
    headers = {"authorization": f"Bearer {desk.key}"}
    for _ in range(5):
        lane.next.append(Script(pieces=("old ",) * 100, gap=0.01))
        with desk.gateway.http.stream(
            "POST", "/v1/chat/completions", headers=headers, json=desk.body(stream=True)
        ) as answer:
            next(answer.iter_bytes())
        lane.wait(lambda calls: calls[-1].left)
        assert "old" not in desk.chat().text


_SMUGGLED = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 8\r\n\r\n{"x": 1}'


@pytest.mark.parametrize(
    "plan",
    [
        Script(body=a_reply() + _SMUGGLED, content_length=len(a_reply())),
        Script(late=_SMUGGLED),
        Script(late=b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    ],
    ids=["behind the body", "a moment later", "a timeout notice"],
)
def test_bytes_that_nobody_asked_for_answer_no_request(
    desk: Desk, lonely: FakeUpstream, plan: Script
) -> None:
    lane = lonely.lane("smuggler")
    desk.provider("smuggler", api_base=lane.base_url)
    for _ in range(3):
        lane.next.append(plan)
        assert desk.chat().status_code == 200
        time.sleep(0.15)
        answer = desk.chat()
        assert answer.status_code == 200
        assert answer.content == bytes(lane.last.sent)


def test_two_lengths_are_no_reply(desk: Desk) -> None:
    lane = desk.failing(Script(headers={"content-length": "5"}, framing="chunked"))
    answer = desk.chat()
    assert answer.status_code == 502
    assert len(lane.chats) == 1


def test_pipelined_requests_are_answered_in_order(desk: Desk) -> None:
    lane = desk.provider()
    requests = b""
    for word in ("first", "second", "third"):
        body = json.dumps(desk.body(fake=script(text=word, delay=0.1 if word == "first" else 0.0))).encode()
        requests += (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {desk.key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body
    got = b""
    with socket.create_connection(("127.0.0.1", desk.gateway.port), timeout=10) as connection:
        connection.sendall(requests)
        while got.count(b"HTTP/1.1 200") < 3 or not got.endswith(b"}"):
            part = connection.recv(65536)
            assert part, got
            got += part
    places = [got.index(f'"content":"{word}"'.encode()) for word in ("first", "second", "third")]
    assert places == sorted(places)
    assert len(lane.chats) == 3


def test_a_client_that_does_not_read_holds_the_provider_back(desk: Desk) -> None:
    """Back-pressure: the gateway does not take 60 MB in for somebody who does not take them."""
    lane = desk.failing(Script(pieces=("q" * 30_000,) * 2000))
    headers = {"authorization": f"Bearer {desk.key}"}
    with desk.gateway.http.stream(
        "POST", "/v1/chat/completions", headers=headers, json=desk.body(stream=True)
    ):
        seen = -1
        while seen < len(lane.last.sent):
            seen = len(lane.last.sent)
            time.sleep(0.2)
        assert seen < 30_000_000
    lane.wait(lambda calls: calls[0].left)


async def test_a_hundred_clients_leave_at_once(desk: Desk) -> None:
    lane = desk.failing(Script(pieces=("w ",) * 2000, gap=0.02))
    limits = httpx.Limits(max_connections=None)
    headers = {"authorization": f"Bearer {desk.key}"}
    async with httpx.AsyncClient(
        base_url=desk.gateway.origin,
        limits=limits,
        headers=headers,
        trust_env=False,
        verify=False,
        timeout=20,
    ) as client:

        async def open_one() -> httpx.Response:
            request = client.build_request("POST", "/v1/chat/completions", json=desk.body(stream=True))
            return await client.send(request, stream=True)

        streams = await asyncio.gather(*(open_one() for _ in range(100)))
        ids = {stream.headers["x-request-id"] for stream in streams}
        await asyncio.gather(*(stream.aclose() for stream in streams))
        await asyncio.to_thread(lane.wait, lambda calls: sum(call.left for call in calls) == 100)
        lane.default = Script()
        answers = await asyncio.gather(
            *(client.post("/v1/chat/completions", json=desk.body()) for _ in range(50))
        )
    assert {answer.status_code for answer in answers} == {200}
    eventually(lambda: desk.gateway.metrics("llm_proxy_active_requests"), lambda active: active == 0)
    rows = eventually(
        lambda: desk.gateway.usage_rows(model=desk.model, outcome="aborted"), lambda rows: len(rows) == 100
    )
    assert {row["request_id"] for row in rows} == ids
