"""A request that is served without a task leaves the same traces as one with a task: bytes, rows, counters."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from hypothesis import event as note
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from tests.fakes.scripted_provider import ANSWERS, pieces_of
from tests.fakes.socketless import SteppedLoop, run_stepped
from tests.fakes.stepped_catalogs import CHANGES, MODELS, NAMES, key_of
from tests.fakes.stepped_clients import CHAT_PATH, RESPONSE_PATH, Client, ask
from tests.fakes.stepped_world import SteppedWorld, number_of

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


@dataclass(frozen=True)
class Act:
    """Something that happens."""

    kind: str
    client: int = 0
    model: str = "one"
    fields: dict[str, Any] = field(default_factory=dict)
    # Of the body; 0 = as small as it is.
    size: int = 0
    # In place of the body.
    invalid: bytes | None = None
    answers: tuple[str, ...] = ()
    # Shares of the request at which a piece ends.
    pieces: tuple[float, ...] = ()
    # Headers that this request alone has.
    headers: tuple[str, ...] = ()
    seconds: float = 0.0
    # The change of the configuration, or the provider.
    name: str = ""
    # Whether everything happens that takes no time before the next act.
    settles: bool = True


@dataclass(frozen=True)
class Cast:
    """One client: its key, the headers of its requests, and the API that it uses."""

    name: str = "plain"
    headers: tuple[str, ...] = ()
    path: str = CHAT_PATH


@dataclass(frozen=True)
class Story:
    casts: tuple[Cast, ...]
    acts: tuple[Act, ...]
    # Whether every request reserves something.
    limits_all: bool = True
    max_retries: int = 2


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


class Play:
    """A story that is played in one world."""

    def __init__(self, loop: SteppedLoop, story: Story, *, is_direct: bool) -> None:
        self.story = story
        self.world = SteppedWorld(
            loop,
            is_direct=is_direct,
            limits_every_caller=story.limits_all,
            max_retries=story.max_retries,
        )
        self.clients = [self.world.connect() for _ in story.casts]
        self._seed = 0

    async def run(self, *, settles: bool = True) -> None:
        """Play it to its end; with `settles`, only a client's own requests follow each other at once."""
        world = self.world
        for position in range(len(self.clients)):
            for _ in range(2):
                self._ask(Act("ask", client=position))
                await world.wait(1.0)
        before = None
        for act in self.story.acts:
            if settles and not _follows_at_once(act, before):
                await world.wait(0.01)
            before = act if act.kind == "ask" and not act.settles else None
            await self._act(act)
            if act.settles:
                # Long enough for an answer that comes at once.
                await world.wait(0.01)
        for client in world.clients:
            client.pause(paused=False)
        world.providers.down.clear()
        await world.wait(40)
        for client in world.clients:
            client.lose(cleanly=False)
        await world.wait(40)
        await world.close()

    async def _act(self, act: Act) -> None:
        client = self.clients[act.client % len(self.clients)]
        match act.kind:
            case "ask":
                self._ask(act)
            case "wait":
                await self.world.wait(act.seconds)
            case "leave" | "leave cleanly":
                client.lose(cleanly=act.kind == "leave cleanly")
            case "pause" | "resume":
                client.pause(paused=act.kind == "pause")
            case "stop":
                await self.world.stop()
            case _:
                self._change(act)

    def _change(self, act: Act) -> None:
        world, providers = self.world, self.world.providers
        match act.kind:
            case "configure":
                world.configure(act.name)
            case "drain":
                world.server_state.draining = world.gateway.lifecycle.draining = True
            case "down":
                providers.down.add(act.name)
            case "up":
                providers.down.discard(act.name)
            case "close idle":
                providers.close_idle(act.name, noticed=True)
            case "close idle unnoticed":
                providers.close_idle(act.name, noticed=False)
            case _:
                raise AssertionError(act)

    def _ask(self, act: Act) -> None:
        position = act.client % len(self.clients)
        cast = self.story.casts[position]
        self._seed += 1
        self.world.providers.answers[self._seed] = list(act.answers)
        headers = (*cast.headers, *act.headers)
        data = ask(key_of(cast.name), self._body(act, cast.path), *headers, path=cast.path)
        client = self._connected(position)
        for piece in pieces_of(data, *act.pieces):
            client.feed(piece)

    def _connected(self, position: int) -> Client:
        if self.clients[position].closed and not self.world.gateway.lifecycle.cutting:
            self.clients[position] = self.world.connect()
        return self.clients[position]

    def _body(self, act: Act, path: str) -> bytes:
        if act.invalid is not None:
            return act.invalid
        text: dict[str, Any] = (
            {"messages": [{"role": "user", "content": "a b"}]} if path == CHAT_PATH else {"input": "a b"}
        )
        fields = {"model": act.model, "seed": self._seed, **text, **act.fields}
        body = msgspec.json.encode(fields)
        missing = act.size - len(body)
        return body if missing < 0 else msgspec.json.encode({**fields, "pad": "x" * (missing - 9)})


def _follows_at_once(act: Act, before: Act | None) -> bool:
    """Tell whether two acts have the same order with and without a task, though nothing happens between them.

    Only a client's own requests have. After a large body the server stops reading, and the task of the request
    before it, which begins later, lets it read on.
    """
    if act.kind != "ask" or act.size > HIGH_WATER_LIMIT // 2:
        return False
    return before is None or before.client == act.client


async def play(
    loop: SteppedLoop, story: Story, *, is_direct: bool, settles: bool = True
) -> tuple[dict[str, Any], SteppedWorld]:
    one = Play(loop, story, is_direct=is_direct)
    await one.run(settles=settles)
    return one.world.state(), one.world


def check_whole(world: SteppedWorld) -> None:
    """Check that every request has its one record, and that nothing is open or held."""
    records = Counter(record.request_id for record in world.recorder.records)
    assert set(records.values()) <= {1}
    assert sorted(records, key=number_of) == [f"request-{number}" for number in range(1, len(records) + 1)]
    journalled = Counter(record.request_id for record in world.recorder.journalled)
    assert set(journalled.values()) <= {1}
    assert set(journalled) <= set(records)
    assert {name: count for name, count in world.open().items() if count} == {}
    assert world.bookings.begun == sum(world.bookings.ended.values())


def both(story: Story, *, settles: bool = True) -> int:
    """Compare the two ways; return how many requests were served directly, at first at least."""
    direct, quick = run_stepped(lambda loop: play(loop, story, is_direct=True, settles=settles))
    with_tasks, slow = run_stepped(lambda loop: play(loop, story, is_direct=False, settles=settles))
    assert slow.direct == 0
    for name, value in with_tasks.items():
        assert direct[name] == value, name
    check_whole(quick)
    check_whole(slow)
    return quick.direct


ONE = (Cast(),)


def asks(*answers: str, **changes: Any) -> Act:
    return Act("ask", answers=answers, **changes)


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
