"""A request that is served without a task leaves the same traces as one with a task: bytes, rows, counters."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event as note
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.scripted_provider import ANSWERS
from tests.fakes.socketless import run_stepped
from tests.fakes.stepped_catalogs import CHANGES, MODELS, NAMES
from tests.fakes.stepped_clients import CHAT_PATH, RESPONSE_PATH
from tests.fakes.stepped_stories import ONE, Act, Cast, Story, asks, both, check_whole, play

LARGE_BODY = 256 * 1024
HEADERS: tuple[tuple[str, ...], ...] = (
    (),
    ("x-llm-gateway-tags: team=red, job=42", "x-llm-gateway-agent: coder"),
    ("x-llm-gateway-tags: nonsense",),
    ("x-llm-gateway-cost: on",),
    ("x-llm-gateway-dry-run: true",),
    ("x-llm-gateway-max-cost-usd: 0.00001",),
    ("x-llm-gateway-cache: on",),
    ("x-llm-gateway-cache: nonsense",),
    ("idempotency-key: 7", "openai-beta: assistants=v2"),
    ("x-request-id: mine", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("content-encoding: gzip",),
    ("expect: 100-continue",),
)
INVALID = (
    b"",
    b"{",
    b"[]",
    b'{"model":5,"messages":[]}',
    b'{"model":"one"}',
    b'{"messages":[]}',
    b'{"model":"one","messages":[],"stream":"yes"}',
    b'{"model":"one","messages":"\xff"}',
    b'{"model":"one","messages":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"model":"one","messages":[],"temperature":' + b"9" * 400 + b"}",
    b'{"model":"one","messages":[],' + b",".join(b'"f%d":1' % n for n in range(1200)) + b"}",
)
FIELDS: tuple[dict[str, Any], ...] = (
    {},
    {"stream": True},
    {"stream": True, "stream_options": {"include_usage": True}},
    {"user": "ann"},
    {"user": 5},
    {"service_tier": "flex", "temperature": 0.5},
    {"temperature": "warm", "max_tokens": 10},
    {"max_tokens": 5000},
    {"max_completion_tokens": 10, "n": 2},
    {"previous_response_id": "resp_1"},
    {"previous_response_id": "resp_1", "stream": True},
)


CASTS = st.builds(
    Cast,
    name=st.sampled_from(["plain"] * 8 + list(NAMES)),
    headers=st.sampled_from([()] * 20 + list(HEADERS)),
    path=st.sampled_from([CHAT_PATH] * 5 + [RESPONSE_PATH]),
)
PLAIN_ANSWERS = ["whole", "another", "late"]
ASKS = st.builds(
    Act,
    kind=st.just("ask"),
    client=st.integers(0, 3),
    model=st.sampled_from(["one", "two", "three", "one", "two", "three", *MODELS]),
    fields=st.sampled_from([{}] * 8 + list(FIELDS)),
    size=st.sampled_from([0] * 24 + [6_500, 17_000, 70_000, LARGE_BODY - 1, LARGE_BODY, 300_000, 1_100_000]),
    invalid=st.sampled_from([None] * 30 + list(INVALID)),
    answers=st.lists(st.sampled_from(PLAIN_ANSWERS * 3 + list(ANSWERS)), max_size=3).map(tuple),
    pieces=st.sampled_from([()] * 20 + [(0.5,), (0.1, 0.9), (0.99,)]),
    headers=st.sampled_from([()] * 30 + [("x-other: 1",), ("x-llm-gateway-cache: refresh",)]),
    settles=st.sampled_from([True, True, True, False]),
)
HAPPENINGS = st.one_of(
    st.sampled_from([0.01, 0.1, 0.5, 1.0, 3.0, 6.0, 25.0]).map(lambda seconds: Act("wait", seconds=seconds)),
    st.builds(
        Act, kind=st.sampled_from(["leave", "leave cleanly", "pause", "resume"]), client=st.integers(0, 3)
    ),
    st.builds(Act, kind=st.just("configure"), name=st.sampled_from(sorted(CHANGES))),
    st.builds(
        Act,
        kind=st.sampled_from(["close idle", "close idle unnoticed", "down", "up"]),
        name=st.sampled_from(["a.test", "b.test", "c.test"]),
    ),
)
ENDS = st.sampled_from([()] * 6 + [("drain",), ("drain", "stop"), ("stop",)])


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Return a story of a few clients: mostly requests, and now and then anything else."""
    acts = draw(st.lists(ASKS, min_size=4, max_size=14))
    for act in draw(st.lists(HAPPENINGS, max_size=6)):
        acts.insert(draw(st.integers(0, len(acts))), act)
    acts += [Act(kind) for kind in draw(ENDS)]
    if draw(st.booleans()):
        acts += draw(st.lists(ASKS, max_size=2))
    return Story(
        tuple(draw(st.lists(CASTS, min_size=1, max_size=4))),
        tuple(acts),
        draw(st.booleans()),
        draw(st.sampled_from([2, 0, 4])),
    )


@given(story=stories())
def test_a_request_without_a_task_leaves_the_same_traces(story: Story) -> None:
    number = both(story)
    note(f"direct requests: {min(number, 5)}")


@given(story=stories(), hurries=st.lists(st.booleans(), min_size=8, max_size=8))
def test_nothing_is_left_open_whatever_happens_at_once(story: Story, hurries: list[bool]) -> None:
    acts = tuple(
        replace(act, settles=not hurried)
        for act, hurried in zip(story.acts, itertools.cycle(hurries), strict=False)
    )
    hurried_story = replace(story, acts=acts)
    _, world = run_stepped(lambda loop: play(loop, hurried_story, is_direct=True, settles=False))
    check_whole(world)


@pytest.mark.parametrize("name", ["plain", "metered", "waiting"])
@pytest.mark.parametrize(
    "act",
    [asks(), asks(model="cached"), asks(size=LARGE_BODY - 1), asks(invalid=b"{")],
    ids=["whole", "cached", "large", "invalid"],
)
@pytest.mark.parametrize("idle", ["b.test", "a.test"])
def test_a_stop_at_the_moment_of_a_request(name: str, act: Act, idle: str) -> None:
    acts = (Act("close idle", name=idle), replace(act, settles=False), Act("stop"))
    assert both(Story((Cast(name),), acts), settles=False) == 1


def test_repeated_requests_are_served_directly() -> None:
    assert both(Story(ONE, (asks(),) * 5)) == 5


@pytest.mark.parametrize("model", ["one", "three", "fragile", "quick", "once", "alone"])
def test_whatever_a_provider_answers(model: str) -> None:
    acts = [each for name in ANSWERS for each in (asks(name, model=model), Act("wait", seconds=6.0))]
    assert both(Story(ONE, tuple(acts))) == len(ANSWERS)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", NAMES)
def test_a_change_of_the_configuration_is_in_force_at_the_next_request(name: str, change: str) -> None:
    acts = (
        asks(),
        asks(model="two"),
        Act("configure", name=change),
        asks(),
        asks(model="two"),
        Act("wait", seconds=20.0),
    )
    both(Story((Cast(name),), (*acts, asks(model="three"), Act("configure", name="nothing"), asks(), asks())))


@pytest.mark.parametrize("headers", HEADERS)
@pytest.mark.parametrize("path", [CHAT_PATH, RESPONSE_PATH])
def test_whatever_a_head_asks_for(headers: tuple[str, ...], path: str) -> None:
    bodies = [asks(model=model, fields=fields) for fields in FIELDS for model in ("one", "two", "cached")]
    both(Story((Cast("plain", headers, path),), (*bodies, *(asks(invalid=one) for one in INVALID))))


@pytest.mark.parametrize("size", [6_500, 17_000, 70_000, LARGE_BODY - 1, LARGE_BODY, 300_000, 1_100_000])
def test_a_body_of_any_size(size: int) -> None:
    both(
        Story(
            ONE, (asks(size=size), asks("ended", "whole", size=size), asks(size=size, pieces=(0.5,)), asks())
        )
    )


@pytest.mark.parametrize("answer", ["silent", "half a body", "late", "paced stream", "silent stream"])
@pytest.mark.parametrize("kind", ["leave", "leave cleanly", "stop"])
@pytest.mark.parametrize("name", ["plain", "metered", "spending", "waiting"])
def test_an_end_in_the_middle(answer: str, kind: str, name: str) -> None:
    fields = {"stream": True} if "stream" in answer else {}
    both(Story((Cast(name),), (asks(answer, fields=fields), Act("wait", seconds=0.6), Act(kind))))


def test_a_failure_after_a_change_leaves_the_shares_of_the_new_configuration() -> None:
    later = [asks(model="three", client=1)] * 9
    acts = (
        asks("half a head", model="three"),
        Act("configure", name="weights"),
        later[0],
        Act("wait", seconds=9.0),
    )
    both(Story((Cast(), Cast()), (*acts, *later)))
