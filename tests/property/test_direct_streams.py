"""A stream that needs no task leaves the same traces as one with a task, however it begins, goes on and ends."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import event as note
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.chat_requests import DONE, HELLO, ROLE, STOP, USAGE, WHOLE
from tests.fakes.scripted_provider import ANSWERS, Step, Steps, chunk
from tests.fakes.stepped_catalogs import CHANGES
from tests.fakes.stepped_clients import CHAT_PATH, RESPONSE_PATH
from tests.fakes.stepped_stories import ONE, Act, Cast, Story, asks, both

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
CLOSING = HEAD.replace(b"OK\r\n", b"OK\r\nconnection: close\r\n")
UNFRAMED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
HEADS = (HEAD, HEAD, HEAD, HEAD, CLOSING, UNFRAMED, HEAD.replace(b"200 OK", b"201 Created"))
TOOL = b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0}]},"finish_reason":null}]}\n\n'
SECOND = HELLO.replace(b'"index":0', b'"index":1')
RESPONSE_EVENTS = (
    b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{"id":"r"}}\n\n',
    (
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":1,'
        b'"delta":"Hi"}\n\n'
    ),
    (
        b'event: response.completed\ndata: {"type":"response.completed","sequence_number":2,"response":{"id":"r",'
        b'"status":"completed","output":[],"usage":{"input_tokens":3,"output_tokens":1,"total_tokens":4}}}\n\n'
    ),
)
# What a stream may hold besides its usual events.
ODD = (
    b": a comment\n\n",
    b"\n\n",
    b"data: \n\n",
    b"data: ping\n\n",
    b'data: {"error":{"message":"sk-secret-of-a broke","code":"rate_limit_exceeded"}}\n\n',
    b'data: {"error":{"message":"bad temperature","type":"invalid_request_error"}}\n\n',
    b'event: error\ndata: {"message":"overloaded"}\n\n',
    b"data: {nonsense\n\n",
    WHOLE,
    TOOL,
    SECOND,
    HELLO.replace(b"\n\n", b"\r\n\r\n"),
    HELLO.replace(b"Hello you", b"x" * 9_000),
    HELLO[:30],
    DONE,
    STOP,
    USAGE,
    *RESPONSE_EVENTS,
)
PAUSES = st.sampled_from([0.0, 0.0, 0.0, 0.05, 0.2, 0.7, 2.0])


@st.composite
def scripts(draw: st.DrawFn) -> Steps:
    """Return what a provider sends for a stream: usual events, mostly, in pieces of any size and at any time."""
    events = [ROLE, *[HELLO] * draw(st.integers(0, 5)), STOP, USAGE, DONE]
    if draw(st.integers(0, 5)) == 0:
        events = list(RESPONSE_EVENTS)
    for event in draw(st.lists(st.sampled_from(ODD), max_size=3).filter(lambda odd: len(odd) != 2)):
        events.insert(draw(st.integers(0, len(events))), event)
    events = events[draw(st.sampled_from([0, 0, 0, 1])) :]
    head = draw(st.sampled_from(HEADS))
    is_framed = b"chunked" in head
    pieces = [head, *((chunk(event) if is_framed else event) for event in events)]
    end = draw(st.sampled_from(["", "", "", "silence", "clean", "reset"]))
    if not end and is_framed:
        pieces.append(b"0\r\n\r\n")
    wire = b"".join(pieces)
    # Mostly between events, and now and then elsewhere.
    edges = set(draw(st.sets(st.sampled_from(list(itertools.accumulate(map(len, pieces)))))))
    edges |= draw(st.sets(st.integers(0, len(wire)), max_size=draw(st.sampled_from([0, 0, 2]))))
    places = sorted({0, len(wire), *edges})
    steps = [Step(wire[start:stop], draw(PAUSES)) for start, stop in itertools.pairwise(places)]
    if end in {"clean", "reset"} or not is_framed:
        steps.append(Step(after=draw(PAUSES), end="clean" if end in {"", "silence"} else end))
    return tuple(steps)


STREAMS = [
    name for name in ANSWERS if "stream" in name or name in {"slow start", "comments first", "late usage"}
]
ASKS = st.builds(
    Act,
    kind=st.just("ask"),
    client=st.integers(0, 2),
    model=st.sampled_from(["one", "one", "two", "three", "quick", "once", "alone", "fragile"]),
    fields=st.sampled_from(
        [
            {"stream": True},
            {"stream": True},
            {"stream": True, "stream_options": {"include_usage": True}},
            {"stream": True, "n": 2},
        ]
    ),
    answers=st.lists(st.one_of(scripts(), st.sampled_from(STREAMS)), min_size=1, max_size=2).map(tuple),
)
HAPPENINGS = st.one_of(
    st.sampled_from([0.01, 0.04, 0.1, 0.3, 1.0, 6.0]).map(lambda seconds: Act("wait", seconds=seconds)),
    st.builds(
        Act, kind=st.sampled_from(["leave", "leave cleanly", "pause", "resume"]), client=st.integers(0, 2)
    ),
    st.builds(Act, kind=st.just("configure"), name=st.sampled_from(sorted(CHANGES))),
    st.builds(Act, kind=st.just("close idle"), name=st.sampled_from(["a.test", "b.test"])),
)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    acts = draw(st.lists(st.one_of(ASKS, ASKS, HAPPENINGS), min_size=2, max_size=9))
    acts += [
        Act(kind) for kind in draw(st.sampled_from([()] * 4 + [("drain",), ("drain", "stop"), ("stop",)]))
    ]
    casts = st.builds(
        Cast,
        name=st.sampled_from(["plain"] * 6 + ["rated", "metered", "spending", "priced", "waiting"]),
        path=st.sampled_from([CHAT_PATH] * 5 + [RESPONSE_PATH]),
    )
    return Story(
        tuple(draw(st.lists(casts, min_size=1, max_size=3))),
        tuple(acts),
        draw(st.booleans()),
        draw(st.sampled_from([0, 2])),
    )


@given(story=stories())
def test_a_stream_without_a_task_leaves_the_same_traces(story: Story) -> None:
    note(f"direct requests: {min(both(story), 5)}")


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("kind", ["leave", "leave cleanly", "stop", "drain", "pause", "configure"])
@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.25, 0.45, 0.65, 0.85, 1.1])
def test_whatever_happens_at_any_point_of_a_stream(name: str, kind: str, seconds: float) -> None:
    ask = asks(name, fields={"stream": True})
    happens = Act(kind, name="gone")
    both(Story(ONE, (ask, Act("wait", seconds=seconds), happens, Act("wait", seconds=9.0))))


@pytest.mark.parametrize("usage", [{}, {"stream_options": {"include_usage": True}}])
@pytest.mark.parametrize("model", ["one", "three", "fragile", "quick", "once", "alone"])
def test_whatever_a_provider_streams(model: str, usage: dict[str, object]) -> None:
    fields = {"stream": True, **usage}
    acts = [
        each
        for name in ANSWERS
        for each in (asks(name, model=model, fields=fields), Act("wait", seconds=6.0))
    ]
    both(Story(ONE, tuple(acts)))
