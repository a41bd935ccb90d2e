"""A stream whose plain chunks pass unread ends like one that is read: bytes, rows, attempts, connections, breaker."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from hypothesis import event as note
from hypothesis import example, given
from hypothesis import strategies as st

from llm_gateway.core.routing.circuit_breaker import Breaker
from llm_gateway.infra.upstream.http11.quiet_relay import LARGEST, QuietRelay
from tests.fakes.chat_requests import DONE, HELLO, ROLE, STOP, USAGE
from tests.fakes.compiled_parts import WAYS, relaying
from tests.fakes.socketless import SocketlessGateway, SteppedLoop, run_stepped

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
IDLE = 10.0


def text(content: str) -> bytes:
    return HELLO.replace(b"Hello you", content.encode())


TOOL = (
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]},'
    b'"finish_reason":null}]}\n\n'
)
PLAIN = st.sampled_from([HELLO, text("a"), text("one two three"), text("\\n\\n"), text("x" * 200)])
ODD = st.sampled_from(
    [
        ROLE,
        STOP,
        USAGE,
        DONE,
        TOOL,
        b": ping\n\n",
        b"\n\n",
        b"\n" + HELLO,
        HELLO + HELLO,
        HELLO + STOP,
        STOP + HELLO,
        USAGE + HELLO,
        b": ping\n\n" + HELLO,
        HELLO + b": ping\n\n",
        b"event: x\n" + HELLO,
        b"event: error\n" + HELLO,
        b": " + HELLO[6:],
        text("y" * LARGEST),
        text("z" * 20_000),
        HELLO.replace(b"\n\n", b"\r\n\r\n"),
        HELLO[:30],
        HELLO[30:],
        b'data: {"error":{"message":"sk-secret-of-a broke"}}\n\n',
        b"data: nonsense\n\n",
        HELLO.replace(b"null}]", b'null}],"usage":{"prompt_tokens":1,"completion_tokens":1}'),
    ]
)
FRAMES = st.sampled_from([b"%x", b"%x", b"%x", b"%X", b"0%x", b"%x;note=1"])


@dataclass(frozen=True)
class Act:
    """Something that happens while a stream is open."""

    kind: str
    data: bytes = b""
    seconds: float = 0.0


def framed(content: bytes, size: bytes = b"%x") -> bytes:
    return size % len(content) + b"\r\n" + content + b"\r\n"


HAPPENINGS = st.one_of(
    st.just(Act("pause")),
    st.just(Act("resume")),
    st.just(Act("leave")),
    st.just(Act("leave unnoticed")),
    st.sampled_from([0.5, IDLE - 1, IDLE + 1]).map(lambda seconds: Act("wait", seconds=seconds)),
    st.sampled_from(["end", "reset"]).map(Act),
)


@st.composite
def stories(draw: st.DrawFn) -> list[Act]:
    """Return what happens: mostly plain chunks that arrive one by one, and now and then anything else."""
    events = draw(st.lists(st.one_of(PLAIN, PLAIN, PLAIN, ODD), max_size=14))
    if draw(st.booleans()):
        events += [STOP, USAGE, DONE]
    chunks = [framed(event, draw(FRAMES)) for event in [HELLO, HELLO, *events]]
    if draw(st.booleans()):
        chunks.append(LAST)
    wire = b"".join(chunks)
    edges = set(itertools.accumulate(map(len, chunks)))
    if draw(st.booleans()):
        # Pieces that end elsewhere than their chunk.
        edges -= draw(st.sets(st.sampled_from(sorted(edges)), max_size=3))
        edges |= draw(st.sets(st.integers(1, len(wire)), max_size=3))
    places = sorted({0, len(wire), *edges})
    acts = [Act("send", wire[start:end]) for start, end in itertools.pairwise(places)]
    for act in draw(st.lists(HAPPENINGS, max_size=4)):
        acts.insert(draw(st.integers(2, len(acts))) if len(acts) > 2 else len(acts), act)
    return acts


async def run(loop: SteppedLoop, acts: list[Act], *, passes_quiet: bool) -> tuple[dict[str, Any], bool]:
    """Return the state at the end, and whether chunks could pass unread."""
    gateway = SocketlessGateway(
        loop, passes_quiet=passes_quiet, llm_timeout=IDLE, max_retries=0, max_event_bytes=8192
    )
    gateway.ask(stream=True)
    await gateway.settle()
    [upstream] = gateway.dialed
    upstream.feed(HEAD)
    paused = False
    for act in acts:
        match act.kind:
            case "send":
                upstream.feed(act.data)
            case "wait":
                await gateway.wait(act.seconds)
            case "leave" | "leave unnoticed":
                gateway.client.lose(cleanly=False)
            case "end" | "reset":
                upstream.lose(cleanly=act.kind == "end")
            case "pause" if not paused and not gateway.client.closed:
                paused = True
                gateway.protocol.pause_writing()
            case "resume" if paused and not gateway.client.closed:
                paused = False
                gateway.protocol.resume_writing()
            case _:
                pass
        # More than one piece may arrive before a task runs.
        if act.kind != "leave unnoticed" and (act.kind != "send" or len(act.data) % 3):
            await gateway.settle()
    if paused and not gateway.client.closed:
        gateway.protocol.resume_writing()
    # Whatever is open now ends by its time limit.
    await gateway.wait(2 * IDLE)
    await gateway.wait(2 * IDLE)
    await gateway.bench.gateway.background.drain(0)
    state = gateway.state()
    deployment = gateway.bench.gateway.selector.known_deployment_state((1, "m"))
    assert deployment is not None
    breaker = deployment.breaker
    state["breaker"] = {name: getattr(breaker, name) for name in Breaker.__slots__}
    state["load"] = deployment.load(gateway.bench.clock.now)
    was_quiet = any(isinstance(one, QuietRelay) for one in upstream.protocols)
    await gateway.pool.close()
    return state, was_quiet


def both(acts: list[Act]) -> bool:
    """Compare the ordinary way with the quick ones; return whether those were taken."""
    slow, was_slow_quiet = run_stepped(lambda loop: run(loop, acts, passes_quiet=False))
    assert not was_slow_quiet
    assert len(slow["rows"]) == 1
    taken: set[bool] = set()
    for way in WAYS:
        with relaying(way):
            quick, was_quiet = run_stepped(lambda loop: run(loop, acts, passes_quiet=True))
        assert quick == slow, way
        taken.add(was_quiet)
    [was_taken] = taken
    return was_taken


def sends(*contents: bytes) -> list[Act]:
    return [Act("send", framed(content)) for content in contents]


@given(acts=stories())
@example(acts=[*sends(HELLO, HELLO, HELLO), Act("pause"), *sends(HELLO, HELLO, STOP, DONE)])
@example(acts=[*sends(HELLO, HELLO, HELLO), Act("leave"), *sends(HELLO, HELLO)])
@example(acts=[*sends(HELLO, HELLO, HELLO), Act("leave unnoticed"), *sends(HELLO, HELLO)])
@example(acts=[*sends(HELLO, HELLO, HELLO), Act("wait", seconds=IDLE + 1), *sends(HELLO)])
@example(
    acts=[*sends(HELLO, HELLO, HELLO), Act("wait", seconds=IDLE - 1), *sends(HELLO), Act("wait", seconds=9.0)]
)
@example(acts=[*sends(HELLO, HELLO, HELLO, HELLO), Act("end")])
@example(acts=[*sends(*[HELLO] * 200, STOP, USAGE, DONE), Act("send", LAST)])
@example(acts=sends(*[text("w " * 1500)] * 60, text("one" * 27_000), *[text("w " * 1500)] * 60, STOP, DONE))
def test_what_passes_unread_changes_nothing(acts: list[Act]) -> None:
    note(f"quiet: {both(acts)}")


def test_a_plain_stream_passes_unread() -> None:
    assert both([*sends(*[HELLO] * 5, STOP, USAGE, DONE), Act("send", LAST)])
