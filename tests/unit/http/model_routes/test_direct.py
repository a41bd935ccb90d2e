"""Which heads are served without a task, and how such a request ends when its process stops."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest
from starlette.middleware.cors import CORSMiddleware

from llm_gateway.core.secret import Secret
from llm_gateway.http.auth import BearerGuard
from llm_gateway.http.root_path import UnderRootPath
from llm_gateway.http.types import AsgiApp
from tests.fakes.socketless import SteppedLoop, run_stepped
from tests.fakes.stepped_catalogs import key_of
from tests.fakes.stepped_clients import CHAT_PATH, ask
from tests.fakes.stepped_world import SteppedWorld


def chat(*headers: str, key: str = key_of("plain"), path: str = CHAT_PATH, **fields: Any) -> bytes:
    body = msgspec.json.encode({"model": "one", "messages": [], "seed": 1, **fields})
    return ask(key, body, *headers, path=path)


def statuses(world: SteppedWorld) -> list[int]:
    written = b"".join(world.clients[0].written)
    return [int(part[:3]) for part in written.split(b"HTTP/1.1 ")[1:]]


def served(data: bytes, **options: Any) -> SteppedWorld:
    """Return a world that got the same request five times on one connection."""

    async def serve(loop: SteppedLoop) -> SteppedWorld:
        world = SteppedWorld(loop, is_direct=True, **options)
        client = world.connect()
        for _ in range(5):
            client.feed(data)
            await world.wait(0.1)
        await world.close()
        return world

    return run_stepped(serve)


def with_cors(app: AsgiApp) -> AsgiApp:
    return CORSMiddleware(app, allow_origins=["https://a.test"])


@pytest.mark.parametrize(
    ("headers", "named"), [(("origin: https://a.test",), 5), ((), 0)], ids=["browser", "other"]
)
def test_a_middleware_that_wraps_send_sees_every_reply(headers: tuple[str, ...], named: int) -> None:
    world = served(chat(*headers), wrap=with_cors)
    assert (statuses(world), world.direct) == ([200] * 5, 0)
    assert (
        b"".join(world.clients[0].written).count(b"access-control-allow-origin: https://a.test\r\n") == named
    )


def test_a_path_below_a_prefix_is_recorded_without_it() -> None:
    world = served(chat(path=f"/llm{CHAT_PATH}"), wrap=lambda app: UnderRootPath(app, "/llm"))
    assert (statuses(world), world.direct) == ([200] * 5, 3)
    assert {record.endpoint for record in world.recorder.records} == {CHAT_PATH}


@pytest.mark.parametrize(("token", "status", "direct"), [("sk-ops", 401, 0), (key_of("plain"), 200, 3)])
def test_a_guard_is_never_passed_by(token: str, status: int, direct: int) -> None:
    world = served(chat(), guards=(BearerGuard(("/v1/",), Secret(token), "OPS_TOKEN"),))
    assert (statuses(world), world.direct) == ([status] * 5, direct)


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_a_coded_body_is_refused_by_the_application(coding: str) -> None:
    world = served(chat(f"content-encoding: {coding}"))
    assert (statuses(world), world.direct) == ([400] * 5, 0)


def in_a_world(work: Any) -> SteppedWorld:
    """Return the world in which `work` ran, whose first client has a known head and an open request."""

    async def begin(loop: SteppedLoop) -> SteppedWorld:
        world = SteppedWorld(loop, is_direct=True, max_retries=0)
        client = world.connect()
        for _ in range(2):
            client.feed(chat())
            await world.wait(0.1)
        result: Coroutine[Any, Any, None] = work(world)
        await result
        await world.wait(10)
        await world.close()
        return world

    world = run_stepped(begin)
    assert {name: count for name, count in world.open().items() if count} == {}
    return world


@pytest.mark.parametrize("fields", [{}, {"stream": True}], ids=["whole", "stream"])
def test_a_stop_answers_and_records_an_open_request(fields: dict[str, Any]) -> None:
    async def stop(world: SteppedWorld) -> None:
        world.providers.answers[1] = ["silent"]
        world.clients[0].feed(chat(**fields))
        await world.settle()
        assert (world.direct, len(world.server_state.tasks)) == (1, 0)
        await world.stop()

    world = in_a_world(stop)
    assert statuses(world) == [200, 200, 503]
    assert world.clients[0].closed
    last = world.recorder.records[-1]
    assert (last.outcome, last.error_type, last.attempts) == ("interrupted", "shutdown", 1)
    assert len(world.recorder.records) == 3


def test_there_is_nothing_to_cut_between_requests() -> None:
    async def cut(world: SteppedWorld) -> None:
        assert not world.clients[0].protocol.cut()
        world.clients[0].feed(chat())
        await world.wait(0.1)
        assert not world.clients[0].protocol.cut()

    world = in_a_world(cut)
    assert (statuses(world), world.direct) == ([200] * 3, 1)


def test_a_request_is_cut_once() -> None:
    async def cut(world: SteppedWorld) -> None:
        world.providers.answers[1] = ["silent"]
        world.clients[0].feed(chat())
        await world.settle()
        assert world.clients[0].protocol.cut()
        assert not world.clients[0].protocol.cut()

    world = in_a_world(cut)
    assert statuses(world) == [200, 200, 503]
    assert [record.outcome for record in world.recorder.records] == ["ok", "ok", "aborted"]


async def cancel_at_once(world: SteppedWorld) -> None:
    """Cancel the next task in the round of the loop in which it was created."""
    tasks: set[asyncio.Task[None]] = world.server_state.tasks
    while not tasks:
        world.loop.now += 1e-5
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()


def test_a_task_that_is_cancelled_before_it_begins_leaves_nothing_open() -> None:
    async def cancel(world: SteppedWorld) -> None:
        world.clients[0].feed(chat(messages=5, stream="yes"))
        await cancel_at_once(world)

    world = in_a_world(cancel)
    assert statuses(world) == [200] * 2
    assert [record.outcome for record in world.recorder.records] == ["ok", "ok", "aborted"]


def test_a_reply_that_could_not_be_written_keeps_its_provider_connection() -> None:
    async def cancel(world: SteppedWorld) -> None:
        world.clients[0].pause(paused=True)
        world.clients[0].feed(chat())
        await cancel_at_once(world)
        await world.settle()
        assert world.pool.connections() == {"busy": 0, "idle": 1}
        world.clients[0].pause(paused=False)

    world = in_a_world(cancel)
    assert [record.outcome for record in world.recorder.records] == ["ok"] * 3
