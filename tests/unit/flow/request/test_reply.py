"""A committed stream: what is relayed, how it ends, and how long its next content may take."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from llm_gateway.flow.accounting.plain_content import PlainContent
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.flow.request.attempt import Attempt
from llm_gateway.flow.request.commit import UncommittedStream
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import StreamReply
from llm_gateway.http.model_routes.streamed_response import StreamedResponse
from tests.fakes.chat_requests import (
    CUT,
    DONE,
    HELLO,
    ROLE,
    STOP,
    USAGE,
    ask_stream,
    begin_stream,
    one,
    read,
    stream,
)
from tests.fakes.in_memory import FakeGateway, FakeReply
from tests.fakes.pinging_reply import PING, Pinging


@pytest.fixture(autouse=True, params=["relayed", "read"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test with a transport that relays and with one that does not."""
    monkeypatch.setattr(FakeReply, "relays", request.param == "relayed")


async def consume_slowly(bench: FakeGateway, reply: StreamReply, *, client_seconds: float = 0.0) -> bytes:
    """Read to the end, as a client that takes its time over each piece."""
    out, last = b"", False
    while not last:
        data, last = await reply.next()
        out += data
        bench.clock.now += client_seconds
    reply.close()
    return out


async def test_a_stream_is_relayed_without_the_usage_that_the_client_did_not_request() -> None:
    reply = stream(ROLE, HELLO, STOP, USAGE, DONE)
    bench = one(reply)
    assert await ask_stream(bench) == ROLE + HELLO + STOP + DONE
    sent = msgspec.json.decode(bench.upstream.requests[0].body)
    assert sent["stream_options"] == {"include_usage": True}
    record = bench.recorder.record
    assert (record.outcome, record.total_tokens, record.usage_source) == ("ok", 5, "provider")
    assert record.ttft_ms is not None
    assert reply.finished
    assert not reply.closed


async def test_a_stream_shows_the_usage_that_the_client_requested() -> None:
    bench = one(stream(ROLE, HELLO, STOP, USAGE, DONE))
    out = await ask_stream(bench, stream_options={"include_usage": True})
    assert out == ROLE + HELLO + STOP + USAGE + DONE


async def test_a_finished_stream_without_done_is_complete() -> None:
    bench = one(stream(ROLE, HELLO, STOP))
    assert await ask_stream(bench) == ROLE + HELLO + STOP + DONE
    record = bench.recorder.record
    assert record.outcome == "ok"
    assert (record.completion_tokens, record.usage_source) == (2, "counted")


@pytest.mark.parametrize("end", [CUT, None, TransportError("timeout", "silent")])
async def test_a_stream_cut_after_the_commit_ends_with_an_error_event(end: TransportError | None) -> None:
    bench = one(stream(ROLE, HELLO, *([end] if end else [])))
    out = await ask_stream(bench)
    assert out.startswith(ROLE + HELLO + b'data: {"error":')
    assert b"[DONE]" not in out
    record = bench.recorder.record
    assert (record.outcome, record.status_code) == ("error", 200)
    assert (record.completion_tokens, record.usage_source) == (2, "counted")


async def test_an_in_band_error_after_the_commit_is_relayed_redacted() -> None:
    bad = b'data: {"error":{"message":"sk-secret-of-a broke","code":"boom"}}\n\n'
    bench = one(stream(HELLO, bad, STOP, DONE))
    out = await ask_stream(bench)
    assert b"[secret] broke" in out
    assert b"sk-secret" not in out
    assert b"[DONE]" not in out


async def test_a_client_that_leaves_mid_stream_is_counted_as_aborted() -> None:
    reply = stream(ROLE, HELLO, HELLO, STOP, DONE)
    bench = one(reply)
    got = await handle(bench.gateway, bench.call(), read(stream=True))
    assert isinstance(got, StreamReply)
    await got.next()
    got.close()
    assert reply.closed
    await bench.gateway.background.drain(1)
    record = bench.recorder.record
    assert (record.outcome, record.status_code, record.completion_tokens) == ("aborted", 200, 2)


async def test_comments_after_content_do_not_extend_the_time() -> None:
    bench = one(FakeReply(), max_retries=0, llm_timeout=10.0)
    reply = Pinging(bench.clock, HELLO, HELLO, seconds=3.0)
    out = await consume_slowly(bench, await begin_stream(bench, reply))
    assert out.startswith(HELLO + HELLO)
    assert PING not in out
    assert b"upstream_timeout" in out
    assert reply.closed
    record = bench.recorder.record
    assert (record.outcome, record.error_type) == ("error", "upstream_timeout")
    assert bench.clock.now <= 1000.0 + 6.0 + 13.0


async def test_bytes_of_an_incomplete_event_do_not_extend_the_time() -> None:
    bench = one(FakeReply(), max_retries=0, llm_timeout=10.0)
    reply = Pinging(bench.clock, HELLO, b"data: {", endless=b" ", seconds=3.0)
    out = await consume_slowly(bench, await begin_stream(bench, reply))
    assert out.startswith(HELLO + b'data: {"error"')
    assert b"upstream_timeout" in out


async def test_every_content_restarts_the_time() -> None:
    bench = one(FakeReply(), max_retries=0, llm_timeout=10.0)
    pieces = [piece for _ in range(5) for piece in (9.0, PING, HELLO)]
    reply = FakeReply(*pieces, STOP, DONE, content_type="text/event-stream", clock=bench.clock)
    assert (await consume_slowly(bench, await begin_stream(bench, reply))).endswith(STOP + DONE)


async def test_a_slow_client_does_not_use_up_the_providers_time() -> None:
    bench = one(FakeReply(), max_retries=0, llm_timeout=10.0)
    pieces = [piece for _ in range(5) for piece in (9.0, HELLO)]
    reply = FakeReply(*pieces, STOP, DONE, content_type="text/event-stream", clock=bench.clock)
    out = await consume_slowly(bench, await begin_stream(bench, reply), client_seconds=100.0)
    assert out.endswith(STOP + DONE)


def stated(**counts: int) -> bytes:
    return b"data: " + msgspec.json.encode({"choices": [], "usage": counts}) + b"\n\n"


PROMPT = stated(prompt_tokens=100_025)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ((PROMPT, HELLO, CUT), (100_025, 2, "provider/counted")),
        ((PROMPT, HELLO), (100_025, 2, "provider/counted")),
        ((PROMPT, HELLO, STOP, DONE), (100_025, 2, "provider/counted")),
        ((HELLO, STOP, stated(completion_tokens=25), DONE), (9, 25, "counted/provider")),
        (
            (HELLO, STOP, stated(prompt_tokens=0, completion_tokens=0, total_tokens=0), DONE),
            (9, 2, "counted"),
        ),
        ((USAGE, HELLO, STOP, DONE), (3, 2, "provider/counted")),
    ],
)
async def test_what_a_stream_stated_is_kept_and_only_the_rest_is_counted(
    pieces: tuple[bytes | TransportError, ...], expected: tuple[int, int, str]
) -> None:
    bench = one(stream(ROLE, *pieces))
    await ask_stream(bench)
    record = bench.recorder.record
    assert (record.prompt_tokens, record.completion_tokens, record.usage_source) == expected


async def test_what_a_stream_stated_is_kept_when_the_client_leaves() -> None:
    bench = one(stream(ROLE, PROMPT, HELLO, HELLO, STOP, DONE))
    got = await handle(bench.gateway, bench.call(), read(stream=True))
    assert isinstance(got, StreamReply)
    await got.next()
    got.close()
    await bench.gateway.background.drain(1)
    record = bench.recorder.record
    assert (record.outcome, record.prompt_tokens, record.completion_tokens) == ("aborted", 100_025, 2)
    assert record.usage_source == "provider/counted"


async def test_what_a_stream_stated_is_kept_when_the_client_leaves_before_the_first_word() -> None:
    class Silent(FakeReply):
        """A reply that says nothing more after its pieces."""

        async def read(self, timeout: float) -> bytes:
            if not self.pieces:
                await asyncio.Event().wait()
            return await super().read(timeout)

    bench = one(Silent(PROMPT, content_type="text/event-stream"))
    call = asyncio.ensure_future(handle(bench.gateway, bench.call(), read(stream=True)))
    for _ in range(20):
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    record = bench.recorder.record
    assert (record.outcome, record.status_code) == ("aborted", 499)
    assert (record.prompt_tokens, record.completion_tokens) == (100_025, 0)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [(UncommittedStream, 7), (Attempt, 10), (StreamReply, 12), (PlainContent, 4), (StreamedResponse, 5)],
)
def test_what_was_sent_is_not_shown_by_accident(kind: type, fields: int) -> None:
    assert "a prompt" not in repr(kind(*["a prompt"] * fields))
