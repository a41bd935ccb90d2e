"""Errors as responses: rendered before the response begins, truncated after it, and logged when they are bugs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from loguru import logger

from llm_gateway.core.errors import (
    BadRequest,
    BodyTimedOut,
    BodyTooLarge,
    Conflict,
    Forbidden,
    GatewayError,
    InternalError,
    MethodNotAllowed,
    ModelNotFound,
    PreconditionFailed,
    RateLimited,
    Unauthenticated,
    Unavailable,
    Unprocessable,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from llm_gateway.flow.call import ClientDisconnected
from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.flow.ports.dialect import Headers
from llm_gateway.flow.request.reply import ByteStream
from llm_gateway.http.errors import (
    TrackedSend,
    as_gateway_error,
    end_stream,
    render,
    send_error,
    send_error_unless_begun,
)
from llm_gateway.http.types import Message
from llm_gateway.surfaces.openai.errors import OPENAI_ERRORS
from tests.fakes.asgi import Wire


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="ERROR")
    yield lines
    logger.remove(sink)


def start(status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [(b"x-request-id", b"theirs")]}


async def test_an_error_has_openais_shape_and_whole_seconds_to_wait() -> None:
    wire = Wire()
    await send_error(wire.send, OPENAI_ERRORS, RateLimited("slow", retry_after=0.2), "an-id")
    assert wire.error == {
        "message": "slow",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert wire.headers[b"retry-after"] == b"1"
    assert wire.headers[b"x-request-id"] == b"an-id"
    assert wire.headers[b"content-length"] == b"%d" % len(wire.body)


@pytest.mark.parametrize("error", [BodyTooLarge("bad", param="model"), BodyTimedOut("bad", param="model")])
async def test_an_unread_body_closes_the_connection(error: GatewayError) -> None:
    wire = Wire()
    await send_error(wire.send, OPENAI_ERRORS, error, "an-id")
    assert wire.error["param"] == "model"
    assert wire.headers[b"connection"] == b"close"


def test_an_errors_own_headers_are_sent() -> None:
    error = MethodNotAllowed("no")
    error.headers = ((b"allow", b"GET"),)
    status, headers, _ = render(OPENAI_ERRORS, error, "an-id")
    assert status == 405
    assert (b"allow", b"GET") in headers
    assert {b"retry-after", b"connection"}.isdisjoint(dict(headers))


async def test_a_client_that_left_gets_nothing() -> None:
    wire = Wire()
    await send_error(wire.send, OPENAI_ERRORS, ClientDisconnected(), "an-id")
    assert wire.messages == []


def test_only_bugs_are_hidden_and_logged(log: list[str]) -> None:
    error = BadRequest("bad")
    assert as_gateway_error(error, "an-id") is error
    assert log == []
    hidden = as_gateway_error(RuntimeError("sk-secret"), "an-id")
    assert isinstance(hidden, InternalError)
    assert "sk-secret" not in hidden.message
    assert "an-id" in log[0]
    assert "RuntimeError" in log[0]


async def test_a_tracked_send_adds_the_request_id_and_follows_the_response() -> None:
    wire = Wire()
    send = TrackedSend(wire.send, "an-id")
    assert (send.status, send.complete) == (0, False)
    await send(start(201))
    assert (send.status, send.complete) == (201, False)
    assert wire.messages[0]["headers"] == [(b"x-request-id", b"an-id")]
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    assert not send.complete
    await send({"type": "http.response.body", "body": b"b"})
    assert send.complete


async def test_an_error_before_the_response_is_sent() -> None:
    wire = Wire()
    await send_error_unless_begun(TrackedSend(wire.send, "an-id"), OPENAI_ERRORS, BadRequest("bad"), "an-id")
    assert (wire.status, wire.error["message"]) == (400, "bad")


async def test_an_error_within_the_response_truncates_it(log: list[str]) -> None:
    wire = Wire()
    send = TrackedSend(wire.send, "an-id")
    await send(start())
    with pytest.raises(RuntimeError, match="late"):
        await send_error_unless_begun(send, OPENAI_ERRORS, RuntimeError("late"), "an-id")
    assert len(wire.messages) == len(log) == 1


@pytest.mark.parametrize(("error", "lines"), [(RuntimeError("late"), 1), (ClientDisconnected(), 0)])
async def test_an_error_after_the_response_is_only_logged(
    error: Exception, lines: int, log: list[str]
) -> None:
    wire = Wire()
    send = TrackedSend(wire.send, "an-id")
    await send(start())
    await send({"type": "http.response.body", "body": b"all"})
    await send_error_unless_begun(send, OPENAI_ERRORS, error, "an-id")
    assert len(wire.messages) == 2
    assert len(log) == lines


class Stream(ByteStream):
    def __init__(self) -> None:
        self.headers: Headers = ()
        self.failures: list[tuple[GatewayError, bool]] = []

    async def next(self) -> tuple[bytes, bool]:
        raise AssertionError("nothing more is read")

    async def relay(self, sink: Callable[[bytes], bool]) -> None:
        raise AssertionError("nothing more is relayed")

    async def fail(self, error: GatewayError, *, begun: bool) -> bytes:
        self.failures.append((error, begun))
        return b"the end"

    def close(self) -> None:
        pass


async def test_a_stream_ends_with_what_it_says_itself() -> None:
    wire, stream = Wire(), Stream()
    await end_stream(wire.send, stream, RuntimeError("a bug"), "an-id")
    [(error, begun)] = stream.failures
    assert isinstance(error, InternalError)
    assert begun
    assert wire.messages == [{"type": "http.response.body", "body": b"the end"}]


def retry_headers(error: GatewayError) -> dict[bytes, bytes]:
    headers = dict(render(OPENAI_ERRORS, error, "an-id")[1])
    return {name: headers[name] for name in (b"retry-after", b"x-should-retry") if name in headers}


WAIT = {b"retry-after": b"1"}
NEVER = {b"x-should-retry": b"false"}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BadRequest("no"), NEVER),
        (BodyTooLarge("no"), NEVER),
        (BodyTimedOut("slow"), WAIT),
        (Unauthenticated("no"), NEVER),
        (Forbidden("no"), NEVER),
        (ModelNotFound("no"), NEVER),
        (MethodNotAllowed("no"), NEVER),
        (Conflict("taken"), NEVER),
        (PreconditionFailed("changed"), NEVER),
        (Unprocessable("no"), NEVER),
        (RateLimited("slow"), WAIT),
        (RateLimited("slow", retry_after=2.1), {b"retry-after": b"3"}),
        (RateLimited("slow", retry_after=60), {b"retry-after": b"60"}),
        (RateLimited("slow", retry_after=61), {b"retry-after": b"61", **NEVER}),
        (Unavailable("full"), WAIT),
        (StoreUnavailable("down"), WAIT),
        (InternalError("bug"), {}),
        (UpstreamFailed("cut", code="upstream_cut"), {}),
        (UpstreamFailed("key", code="upstream_key_refused"), NEVER),
        (UpstreamFailed("bill", code="upstream_account_refused"), NEVER),
        (UpstreamUnavailable("full"), WAIT),
        (UpstreamUnavailable("full", retry_after=7), {b"retry-after": b"7"}),
        (UpstreamTimedOut("slow"), {}),
        (UpstreamRefused("no", status=400), NEVER),
        (UpstreamRefused("no", status=404), NEVER),
        (UpstreamRefused("no", status=402), NEVER),
        (UpstreamRefused("slow", status=429), WAIT),
        (UpstreamRefused("slow", status=429, retry_after=5), {b"retry-after": b"5"}),
        (UpstreamRefused("slow", status=429, retry_after=500), {b"retry-after": b"500", **NEVER}),
        (UpstreamRefused("pay", status=429, code="insufficient_quota", retry_after=5), NEVER),
        (UpstreamRefused("busy", status=409), {}),
    ],
)
def test_c44_a_client_learns_whether_waiting_helps(error: GatewayError, told: dict[bytes, bytes]) -> None:
    assert retry_headers(error) == told
