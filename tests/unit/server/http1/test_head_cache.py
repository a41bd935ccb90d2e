"""A head that is known again means to the application what the parser would have made of it."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.config import Config

from llm_gateway.server.http1.exchange import EXTENSION
from llm_gateway.server.http1.head_cache import KnownHead, KnownHeads
from llm_gateway.server.http1.limits import HttpLimits
from llm_gateway.server.http1.protocol import GatewayProtocol
from llm_gateway.server.http1.state import GatewayServerState
from tests.fakes.served import Receive, Scope, Send
from tests.fakes.served_apps import read_body, reply

HEAD = b"POST /v1/x?a=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k\r\n"


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self, host: str = "127.0.0.1", port: int = 7) -> None:
        super().__init__()
        self.peer = (host, port)
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": self.peer, "sockname": ("127.0.0.1", 7)}.get(name, default)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def write_eof(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class CountingProtocol(GatewayProtocol):
    """Counts the pieces that it parses."""

    parsed = 0

    def _feed(self, data: bytes | memoryview) -> None:
        self.parsed += 1
        super()._feed(data)


class Connection:
    """One connection without a socket, and what its application saw."""

    def __init__(self, wire: Wire | None = None, state: GatewayServerState | None = None) -> None:
        self.seen: list[tuple[dict[str, Any], bytes | None]] = []
        self.wire = wire or Wire()
        self.head_state: dict[str, Any] | None = None
        config = Config(
            self.app,
            http=GatewayProtocol,
            ws="none",
            interface="asgi3",
            access_log=False,
            log_config=None,
            proxy_headers=False,
        )
        config.load()
        self.state = state or GatewayServerState(HttpLimits(), new_request_id=lambda: "the-request-id")
        self.protocol = CountingProtocol(config, self.state, {}, asyncio.get_running_loop())
        self.protocol.connection_made(self.wire)

    @property
    def parsed(self) -> int:
        return self.protocol.parsed

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        shown = {name: value for name, value in scope.items() if name != "extensions"}
        scope["headers"].append((b"x-added", b"by the application"))
        scope["path"] = "/changed"
        self.head_state = scope["extensions"][EXTENSION].head_state
        self.seen.append(({**shown, "headers": shown["headers"][:-1]}, body))
        await reply(send)

    async def ask(self, data: bytes) -> tuple[dict[str, Any], bytes | None] | None:
        """Deliver one piece; return what the application saw of it."""
        before = len(self.seen)
        self.protocol.data_received(data)
        for _ in range(12):
            await asyncio.sleep(0)
        return self.seen[-1] if len(self.seen) > before else None


def request(body: bytes, head: bytes = HEAD, *, length: bytes | None = None) -> bytes:
    return head + b"Content-Length: %b\r\n\r\n" % (b"%d" % len(body) if length is None else length) + body


async def test_the_second_request_with_a_head_is_not_parsed() -> None:
    connection = Connection()
    for size in (3, 3, 12, 70_000, 1):
        seen = await connection.ask(request(b"x" * size))
        assert seen == await Connection().ask(request(b"x" * size))
    assert connection.parsed == 1
    assert connection.state.total_requests == 5
    assert connection.wire.written.count(b"HTTP/1.1 200 OK") == 5


async def test_the_application_keeps_what_it_read_for_the_requests_with_the_same_head() -> None:
    connection = Connection()
    await connection.ask(request(b"one"))
    head_state = [connection.head_state]
    await connection.ask(request(b"two"))
    head_state.append(connection.head_state)
    assert connection.head_state is not None
    connection.head_state["key"] = "read"
    for head in (HEAD, *[HEAD.replace(b"Bearer k", b"Bearer l")] * 2):
        await connection.ask(request(b"more", head))
        head_state.append(connection.head_state)
    assert head_state == [None, {"key": "read"}, {"key": "read"}, None, {}]


async def test_connections_from_one_address_share_what_was_read_of_equal_heads() -> None:
    first = Connection(Wire(port=7))
    second = Connection(Wire(port=8), first.state)
    elsewhere = Connection(Wire("127.0.0.2"), first.state)
    for connection in (first, second, elsewhere):
        for body in (b"one", b"two"):
            seen = await connection.ask(request(body))
            # Each request comes from its own connection all the same.
            assert seen is not None
            assert (seen[0]["client"], seen[1]) == (connection.wire.peer, body)
    assert first.head_state is not None
    assert second.head_state is first.head_state
    assert elsewhere.head_state is not first.head_state
    await second.ask(request(b"three", HEAD.replace(b"Bearer k", b"Bearer l")))
    await second.ask(request(b"four", HEAD.replace(b"Bearer k", b"Bearer l")))
    assert second.head_state is not first.head_state


async def test_a_head_that_no_open_connection_remembers_is_forgotten() -> None:
    first = Connection()
    for body in (b"one", b"two"):
        await first.ask(request(body))
    assert first.head_state is not None
    first.head_state["key"] = "read"
    state = first.state
    first.protocol.connection_lost(None)
    del first
    gc.collect()
    second = Connection(state=state)
    for body in (b"one", b"two"):
        await second.ask(request(body))
    assert second.head_state == {}


async def test_a_connection_without_a_request_to_read_holds_no_parser() -> None:
    connection = Connection()
    assert connection.protocol._parser is None
    await connection.ask(request(b"one"))
    assert connection.protocol._parser is None
    await connection.ask(b"POST /v1/x HTTP/1.1\r\nHo")
    assert connection.protocol._parser is not None


@pytest.mark.parametrize(
    "data",
    [
        request(b"abc", length=b"4"),
        request(b"abc", length=b"2"),
        request(b"abc", length=b"03"),
        request(b"abc", length=b"+3"),
        request(b"abc", length=b"3 "),
        request(b"abc", length=b"3, 3"),
        request(b"abc", length=b""),
        request(b"abc", length=b"99999999999999999999"),
        request(b"abc") + request(b"def"),
        request(b"")[:-2],
        request(b"abc", HEAD + b"Content-Length: 3\r\n"),
        request(b"abc", HEAD + b"Transfer-Encoding: chunked\r\n"),
        request(b"abc", HEAD + b"Expect: 100-continue\r\n"),
        request(b"abc", HEAD.replace(b"POST", b"PUT")),
        request(b"abc", HEAD.replace(b"1.1", b"1.0")),
        b"\r\n" + request(b"abc"),
    ],
)
async def test_whatever_else_comes_is_the_parsers(data: bytes) -> None:
    connection, fresh = Connection(), Connection()
    await connection.ask(request(b"abc"))
    connection.wire.written = b""
    assert await connection.ask(data) == await fresh.ask(data)
    assert connection.parsed == 2
    assert connection.wire.written == fresh.wire.written
    assert connection.wire.closed == fresh.wire.closed


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n" + request(b"abc"),
        request(b"abc", HEAD + b"Transfer-Encoding: chunked\r\n", length=b"3"),
        request(b"abc", HEAD + b"Expect: 100-continue\r\n"),
        request(b"abc", HEAD + b"Connection: close\r\n"),
        request(b"abc", HEAD.replace(b"1.1", b"1.0")),
        request(b"0\r\n\r\n"[:3], HEAD, length=b"003"),
        request(b"abc") + request(b"def"),
        HEAD + b"\r\n",
    ],
)
async def test_what_is_out_of_the_ordinary_is_not_learnt(data: bytes) -> None:
    connection = Connection()
    await connection.ask(data)
    assert connection.protocol._known_head is None


@pytest.mark.parametrize("verb", [b"POST", b"HEAD"])
async def test_a_head_is_never_known_by_what_another_request_said(verb: bytes) -> None:
    connection = Connection()
    other = HEAD.replace(b"POST /v1/x", verb + b" /v1/other")
    large = request(b"x" * 40_000, other)
    # The end of its head comes in a piece that is fed in slices, and so it is not learnt.
    await connection.ask(large[:20])
    assert await connection.ask(large[20:]) is not None
    unusual = HEAD + b"Expect: 100-continue\r\n"
    for body in (b"one", b"two"):
        seen = await connection.ask(request(body, unusual))
        assert seen is not None
        assert (seen[0]["method"], seen[0]["path"], seen[1]) == ("POST", "/v1/x", body)
    assert connection.protocol._known_head is None


async def test_a_client_that_never_says_the_same_twice_is_not_studied_for_ever() -> None:
    connection = Connection()
    for number in range(20):
        await connection.ask(request(b"abc", HEAD + b"Traceparent: %d\r\n" % number))
    assert connection.protocol._heads_to_learn == 0
    assert len(connection.seen) == connection.parsed == 20
    last = HttpLimits().remembered_heads - 1
    await connection.ask(request(b"abc", HEAD + b"Traceparent: %d\r\n" % last))
    assert connection.parsed == 20


async def test_a_request_that_comes_while_another_is_answered_waits_for_its_turn() -> None:
    connection = Connection()
    await connection.ask(request(b"one"))
    connection.protocol.data_received(request(b"two"))
    connection.protocol.data_received(request(b"three"))
    for _ in range(50):
        await asyncio.sleep(0)
    assert [body for _, body in connection.seen] == [b"one", b"two", b"three"]
    assert connection.parsed == 2


async def test_a_draining_server_ends_the_connection_after_a_known_head_too() -> None:
    connection = Connection()
    await connection.ask(request(b"one"))
    connection.state.draining = True
    await connection.ask(request(b"two"))
    assert connection.parsed == 1
    assert connection.wire.closed
    assert connection.wire.written.endswith(b"connection: close\r\n\r\nok")


_names = st.sampled_from(
    [b"Accept", b"X-Stainless-Lang", b"user-agent", b"Cookie", b"X-Content-Length", b"accept"]
)
_values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12).map(str.encode)


@given(
    before=st.lists(st.tuples(_names, _values), max_size=4),
    after=st.lists(st.tuples(_names, _values), max_size=4),
    name=st.sampled_from([b"Content-Length", b"content-length", b"CONTENT-LENGTH"]),
    space=st.sampled_from([b"", b" ", b"\t "]),
    bodies=st.lists(st.binary(min_size=1, max_size=300), min_size=2, max_size=4),
)
def test_a_known_head_and_the_parser_agree(
    before: list[tuple[bytes, bytes]],
    after: list[tuple[bytes, bytes]],
    name: bytes,
    space: bytes,
    bodies: list[bytes],
) -> None:
    def whole(body: bytes) -> bytes:
        lines = [b"%b: %b\r\n" % header for header in before]
        lines += [b"%b:%b%d\r\n" % (name, space, len(body))]
        lines += [b"%b: %b\r\n" % header for header in after]
        return b"POST /v1/x HTTP/1.1\r\nHost: a\r\n" + b"".join(lines) + b"\r\n" + body

    async def agree() -> None:
        known = Connection()
        for body in bodies:
            fresh = Connection()
            data = whole(body)
            known.wire.written = b""
            assert await known.ask(data) == await fresh.ask(data)
            assert known.wire.written == fresh.wire.written

    asyncio.run(agree())


@given(data=st.binary(max_size=60))
def test_no_bytes_upset_what_is_known(data: bytes) -> None:
    headers = [(b"host", b"a"), (b"content-length", b"3")]
    scope = {"method": "POST", "client": None, "server": None, "scheme": "http"}
    known = KnownHeads().remember(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", headers, scope
    )
    assert isinstance(known, KnownHead)
    assert known.body_of(data) is None
    for prefix in (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4",
    ):
        body = known.body_of(prefix + data)
        assert body is None or (prefix + data).endswith(b"%d\r\n\r\n%b" % (len(body), body))
