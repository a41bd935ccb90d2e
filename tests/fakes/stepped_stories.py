"""Stories of requests and of what else happens, played in a stepped world with tasks, and in one without."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from tests.fakes.scripted_provider import Steps, pieces_of
from tests.fakes.socketless import SteppedLoop, run_stepped
from tests.fakes.stepped_catalogs import key_of
from tests.fakes.stepped_clients import CHAT_PATH, Client, ask
from tests.fakes.stepped_world import SteppedWorld, number_of


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
    answers: tuple[str | Steps, ...] = ()
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


def asks(*answers: str | Steps, **changes: Any) -> Act:
    return Act("ask", answers=answers, **changes)
