"""What is an answer and what is none: a provider that sends none has failed, and another one is asked."""

from __future__ import annotations

import msgspec
import pytest

from llm_gateway.flow.routing.selector import Selector
from tests.fakes.chat_requests import DONE, HELLO, ROLE, STOP, USAGE, WHOLE, ask, ask_stream, one, stream
from tests.fakes.in_memory import FakeGateway, FakeReply, ScriptedUpstream, provider


@pytest.fixture(autouse=True, params=["relayed", "read"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test with a transport that relays and with one that does not."""
    monkeypatch.setattr(FakeReply, "relays", request.param == "relayed")


def then_b(a: FakeReply, b: FakeReply) -> FakeGateway:
    """Return a gateway that asks provider a first, then b."""
    providers = (provider(key, number, model_mapping={"m": "up"}) for number, key in enumerate("ab", 1))
    selector = Selector(draw=lambda: 0.5)
    return FakeGateway(*providers, upstream=ScriptedUpstream(a=a, b=b), selector=selector)


async def fails_over(*pieces: bytes) -> None:
    """Check that a stream of `pieces` from the first provider is no answer."""
    bench = then_b(stream(*pieces), stream(ROLE, HELLO, STOP, DONE))
    assert await ask_stream(bench) == ROLE + HELLO + STOP + DONE
    assert bench.upstream.hosts == ["a", "b"]


def unfinished(event: bytes, reason: bytes) -> bytes:
    return event.replace(b'"finish_reason":null', b'"finish_reason":' + reason)


@pytest.mark.parametrize("reason", [b'""', b'"null"', b'" "', b"0", b"null"])
async def test_a_finish_reason_that_names_none_neither_commits_nor_ends_a_stream(reason: bytes) -> None:
    role, hello = unfinished(ROLE, reason), unfinished(HELLO, reason)
    await fails_over(role)

    bench = one(stream(role, hello))
    out = await ask_stream(bench)
    assert out.startswith(role + hello + b'data: {"error":')
    assert b"upstream_cut" in out
    assert b"[DONE]" not in out
    assert bench.recorder.record.outcome == "error"


@pytest.mark.parametrize("reason", [b'"error"', b'"network_error"', b'"abort"'])
async def test_a_finish_reason_that_reports_a_failure_is_one(reason: bytes) -> None:
    failed = STOP.replace(b'"stop"', reason)
    await fails_over(ROLE, failed, DONE)

    bench = one(stream(ROLE, HELLO, failed, USAGE, DONE))
    out = await ask_stream(bench)
    assert out.startswith(ROLE + HELLO + b'data: {"error":')
    assert b'"type":"upstream_error"' in out
    assert b"[DONE]" not in out
    assert bench.recorder.record.outcome == "error"


@pytest.mark.parametrize("before", [b"", b": ping\n\n", ROLE, USAGE, b"data: {}\n\n"])
async def test_a_stream_of_its_end_alone_is_no_answer(before: bytes) -> None:
    await fails_over(before + DONE)


async def test_a_stream_that_ends_without_an_answer_after_the_commit_hold_fails() -> None:
    bench = one(FakeReply(), commit_hold=2.0)
    bench.upstream.answers["a"] = [stream(ROLE, 30.0, DONE, clock=bench.clock)]
    out = await ask_stream(bench)
    assert out.startswith(ROLE + b'data: {"error":')
    assert b"[DONE]" not in out
    assert bench.recorder.record.outcome == "error"


TYPES = ["application/json", "Application/JSON; charset=utf-8", "text/plain", "text/event-stream", ""]
PRELUDES: list[tuple[bytes, ...]] = [(), (b"\n",), (b" \r\n", b"\n\n"), (b"\xef\xbb\xbf",)]


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize("prelude", PRELUDES)
async def test_json_is_read_as_json_whatever_its_type(content_type: str, prelude: tuple[bytes, ...]) -> None:
    half = len(WHOLE) // 2
    for pieces in ((WHOLE,), (WHOLE[:1], WHOLE[1:half], WHOLE[half:])):
        bench = one(FakeReply(*prelude, *pieces, content_type=content_type))
        out = await ask_stream(bench)
        assert b'"delta":{"role":"assistant","content":"Hi"}' in out
        assert out.endswith(DONE)
        assert len(bench.upstream.requests) == 1
        assert bench.recorder.record.total_tokens == 4


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize("prelude", PRELUDES)
async def test_a_stream_is_read_as_a_stream_whatever_its_type(
    content_type: str, prelude: tuple[bytes, ...]
) -> None:
    bench = one(FakeReply(*prelude, ROLE, HELLO, STOP, DONE, content_type=content_type))
    assert await ask_stream(bench) == ROLE + HELLO + STOP + DONE
    assert len(bench.upstream.requests) == 1


@pytest.mark.parametrize("content_type", TYPES)
async def test_a_stream_in_place_of_a_whole_reply_is_joined(content_type: str) -> None:
    bench = one(FakeReply(ROLE, HELLO, STOP, USAGE, DONE, content_type=content_type))
    reply = msgspec.json.decode((await ask(bench)).body)
    assert reply["choices"][0]["message"]["content"] == "Hello you"
    assert len(bench.upstream.requests) == 1
    assert bench.recorder.record.total_tokens == 5


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"choices":null}',
        b'{"choices":[]}',
        b'{"choices":[{}]}',
        b'{"code":401,"msg":"insufficient balance"}',
        b'{"object":"error","message":"insufficient balance"}',
        b'{"error":{"message":"insufficient balance"}}',
        WHOLE.replace(b'"stop"', b'"error"'),
        DONE,
        ROLE + HELLO,
        b"null",
        b"",
    ],
)
@pytest.mark.parametrize("is_stream", [True, False])
async def test_a_2xx_without_an_answer_is_a_failed_attempt(body: bytes, is_stream: bool) -> None:
    if body == ROLE + HELLO and is_stream:
        return
    bench = then_b(FakeReply(body), stream(ROLE, HELLO, STOP, DONE) if is_stream else FakeReply(WHOLE))
    await (ask_stream(bench) if is_stream else ask(bench))
    assert bench.upstream.hosts == ["a", "b"]
    (failed,) = bench.recorder.failed
    assert failed.outcome == "error"
    assert bench.recorder.record.outcome == "ok"
