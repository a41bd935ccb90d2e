"""A request that is served without a task, where something fails or has changed that seldom does."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any, cast
from weakref import ref

import msgspec
import pytest

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.request.commit import UncommittedStream
from llm_gateway.flow.request.direct import DirectRequest
from llm_gateway.flow.request.reply import StreamReply
from llm_gateway.http.model_routes.streamed_response import StreamedResponse
from llm_gateway.providers.base import Adapter, Completion, UpstreamRequest
from llm_gateway.providers.openai.adapter import OpenAIAdapter
from llm_gateway.providers.registry import ADAPTERS
from tests.fakes.socketless import SteppedLoop, run_stepped
from tests.fakes.stepped_catalogs import key_of
from tests.fakes.stepped_clients import ask
from tests.fakes.stepped_world import SteppedWorld

IDLE_SECONDS = 20


def chat(**fields: Any) -> bytes:
    return ask(key_of("plain"), msgspec.json.encode({"model": "one", "messages": [], "seed": 1, **fields}))


async def warm(loop: SteppedLoop, **changes: Any) -> SteppedWorld:
    """Return a world with a client whose next request is served directly."""
    world = SteppedWorld(loop, is_direct=True, max_retries=0, **changes)
    client = world.connect()
    for _ in range(2):
        client.feed(chat())
        await world.wait(0.5)
    return world


def test_the_third_request_of_a_connection_has_no_task() -> None:
    async def third(loop: SteppedLoop) -> SteppedWorld:
        world = await warm(loop)
        for _ in range(3):
            world.clients[0].feed(chat())
            await world.wait(0.1)
        await world.close()
        return world

    world = run_stepped(third)
    assert (world.direct, world.tasks_started) == (3, 2)
    assert [record.outcome for record in world.recorder.records] == ["ok"] * 5


def test_requests_have_no_task_again_after_a_long_rest() -> None:
    """The pool forgets an origin whose connections were all closed."""

    async def rest(loop: SteppedLoop) -> SteppedWorld:
        world = await warm(loop)
        world.clients[0].feed(chat())
        await world.wait(2 * IDLE_SECONDS)
        for _ in range(4):
            world.clients[0].feed(chat())
            await world.wait(0.1)
        await world.close()
        return world

    world = run_stepped(rest)
    # Besides the first two, one that has to wait for a connection.
    assert (world.direct, world.tasks_started) == (5, 3)
    assert len(world.providers.connections) == 2


class FailingAdapter(OpenAIAdapter):
    """Raises what no adapter should, in one of its methods, from the third request on."""

    def __init__(self, failing: str) -> None:
        super().__init__(ADAPTERS["openai"].kind)
        self._failing = failing
        self._numbers = dict.fromkeys(("encode", "encode_body", "decode"), 0)

    def _called(self, method: str) -> None:
        self._numbers[method] += 1
        if method == self._failing and self._numbers[method] > 2:
            raise RuntimeError(method)

    def encode(
        self, request: ModelRequest, deployment: Deployment, extra_headers: Mapping[str, str]
    ) -> UpstreamRequest:
        self._called("encode")
        return super().encode(request, deployment, extra_headers)

    def encode_body(self, request: ModelRequest, deployment: Deployment) -> tuple[bytes, tuple[str, ...]]:
        self._called("encode_body")
        return super().encode_body(request, deployment)

    def decode(self, body: bytes, request: ModelRequest) -> Completion:
        self._called("decode")
        return super().decode(body, request)


@pytest.mark.parametrize("failing", ["encode", "encode_body", "decode"])
@pytest.mark.parametrize("is_direct", [True, False])
def test_an_adapter_that_fails_leaves_nothing_open(failing: str, *, is_direct: bool) -> None:
    async def fail(loop: SteppedLoop) -> SteppedWorld:
        adapters: dict[str, Adapter] = {**ADAPTERS, "openai": FailingAdapter(failing)}
        world = SteppedWorld(loop, is_direct=is_direct, adapters=adapters)
        for _ in range(4):
            client = world.connect() if not world.clients else world.clients[0]
            client.feed(chat())
            await world.wait(0.5)
        await world.close()
        return world

    world = run_stepped(fail)
    assert bool(world.direct) is is_direct
    assert {name: count for name, count in world.open().items() if count} == {}
    records = [(record.outcome, record.status_code) for record in world.recorder.records]
    assert records == [("ok", 200)] * 2 + [("error", 500)] * 2


def requests() -> list[object]:
    return [one for one in gc.get_objects() if isinstance(one, DirectRequest)]


def test_a_refused_request_is_freed_without_garbage_collection() -> None:
    async def refuse(loop: SteppedLoop) -> SteppedWorld:
        world = await warm(loop)
        # An observer of this world raises on every third request, and the log keeps its traceback.
        world.clients[0].feed(chat())
        await world.wait(0.1)
        gc.collect()
        kept = len(requests())
        gc.disable()
        try:
            world.clients[0].feed(chat(messages=5))
            await world.wait(0.1)
            assert len(requests()) == kept
        finally:
            gc.enable()
        await world.close()
        return world

    world = run_stepped(refuse)
    assert (world.direct, world.recorder.records[-1].status_code) == (2, 400)


def test_an_idle_connection_keeps_no_old_configuration() -> None:
    async def rest(loop: SteppedLoop) -> SteppedWorld:
        world = await warm(loop)
        world.clients[0].feed(chat())
        await world.wait(0.1)
        # The log keeps the third request, because an observer raised, and so the first configuration.
        world.configure("nothing")
        world.clients[0].feed(chat())
        await world.wait(0.1)
        old = ref(cast("Snapshot", world.snapshots.current))
        world.configure("weights")
        gc.collect()
        assert old() is None
        world.clients[0].feed(chat())
        await world.wait(0.1)
        await world.close()
        return world

    world = run_stepped(rest)
    assert (world.direct, world.recorder.records[-1].config_version) == (3, world.version)


@pytest.mark.parametrize(
    "answer",
    ["stream", "paced stream", "slow start", "comments first", "late usage", "error at once in a stream"],
)
@pytest.mark.parametrize("asked", [{}, {"stream_options": {"include_usage": True}}])
def test_a_stream_has_no_task_until_something_unusual_comes(answer: str, asked: dict[str, object]) -> None:
    async def streamed(loop: SteppedLoop) -> SteppedWorld:
        world = await warm(loop)
        world.providers.answers[1] = [answer]
        world.clients[0].feed(chat(stream=True, **asked))
        await world.wait(3.0)
        await world.close()
        return world

    world = run_stepped(streamed)
    fails = answer == "error at once in a stream"
    assert (world.direct, world.tasks_started) == (1, 3 if fails else 2)
    assert [record.outcome for record in world.recorder.records] == ["ok", "ok", "error" if fails else "ok"]
    assert {name: count for name, count in world.open().items() if count} == {}


def streams() -> list[object]:
    kinds = (DirectRequest, StreamReply, StreamedResponse, UncommittedStream)
    return [one for one in gc.get_objects() if isinstance(one, kinds)]


@pytest.mark.parametrize("ends", ["leave", "wait"])
@pytest.mark.parametrize(
    "answer",
    [
        "stream",
        "paced stream",
        "slow start",
        "long role",
        "late usage",
        "error in a stream",
        "silent stream",
    ],
)
def test_a_stream_is_freed_without_garbage_collection(answer: str, ends: str) -> None:
    async def streamed(loop: SteppedLoop) -> None:
        world = await warm(loop)
        # An observer of this world raises on every third request, and the log keeps its traceback.
        world.clients[0].feed(chat())
        await world.wait(0.1)
        gc.collect()
        before = len(streams())
        gc.disable()
        try:
            world.providers.answers[1] = [answer]
            world.clients[0].feed(chat(stream=True))
            await world.wait(0.3 if ends == "leave" else 20)
            if ends == "leave":
                world.clients[0].lose(cleanly=False)
                await world.wait(0.1)
            assert len(streams()) == before
        finally:
            gc.enable()
        await world.close()

    run_stepped(streamed)
