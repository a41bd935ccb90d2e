"""What thousands of hang-ups leave inside the process: no task, no slot, no buffer, no request half forgotten."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import pytest

from llm_gateway.flow.accounting.meter import Meter
from llm_gateway.flow.gateway import Options
from llm_gateway.flow.request.reply import StreamReply
from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.data_plane import DataPlane
from llm_gateway.infra.upstream.aiohttp.transport import AiohttpReply, AiohttpUpstream
from llm_gateway.infra.upstream.http11.connection import Connection
from llm_gateway.infra.upstream.http11.pool import PooledUpstream
from llm_gateway.infra.upstream.http11.reply import PooledReply
from llm_gateway.providers.openai.event_stream import OpenAIReplyStream
from llm_gateway.sockets.write_batch import WriteBatch
from llm_gateway.surfaces.openai.dialect import CHAT, RESPONSE
from tests.e2e.hanging_up import Leaver, storm
from tests.fakes.fault_server import FaultServer, fault_server
from tests.fakes.faults import Case
from tests.fakes.in_memory import KEY, FakeGateway, ScriptedUpstream, provider
from tests.fakes.served import App, Receive, Scope, Send, served
from tests.fakes.worker_registry import FakeWorkerRegistry

MIB = 1024 * 1024
TRANSPORTS: dict[str, Callable[[], PooledUpstream | AiohttpUpstream]] = {
    "pool": lambda: PooledUpstream(connect_timeout=10, batch=WriteBatch()),
    "aiohttp": lambda: AiohttpUpstream(connect_timeout=10),
}
# Each is there for as long as a request is.
BOUND_TO_REQUESTS = (Meter, StreamReply, OpenAIReplyStream, PooledReply, AiohttpReply, Connection)


class Inside:
    """A gateway in this event loop, over a real transport."""

    def __init__(self, server: FaultServer, upstream: PooledUpstream | AiohttpUpstream) -> None:
        everything = {"*": "*"}
        self.bench = FakeGateway(
            provider("bad", api_base=server.base_url("bad"), weight=1000, model_mapping=everything),
            provider("good", 2, api_base=server.base_url("good"), model_mapping=everything),
            upstream=cast("ScriptedUpstream", upstream),
            options=Options(max_retries=0, llm_timeout=60, commit_hold=60),
        )
        self.worker_registry = FakeWorkerRegistry()
        self.bodies = BodyReader(max_bytes=MIB, max_total_bytes=64 * MIB, timeout=10)
        self.app: App = self._make()

    def _make(self) -> App:
        plane = DataPlane(
            gateway=self.bench.gateway,
            bodies=self.bodies,
            worker_registry=cast("Any", self.worker_registry),
            max_concurrency=10_000,
        )
        handlers = {
            "/v1/chat/completions": plane.model_route("/v1/chat/completions", CHAT),
            "/v1/responses": plane.model_route("/v1/responses", RESPONSE),
        }
        numbers = itertools.count(1)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            handler: Any = handlers[scope["path"]]
            await handler(scope, receive, send, f"request-{next(numbers)}")

        return app


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)


def alive() -> Counter[str]:
    gc.collect()
    return Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, BOUND_TO_REQUESTS))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_storm_of_hang_ups_leaves_nothing_inside(transport: str, soak: bool) -> None:
    dice = random.Random(11)
    before = alive()
    async with fault_server() as server:
        upstream = TRANSPORTS[transport]()
        inside = Inside(server, upstream)
        gateway = inside.bench.gateway
        async with served(inside.app) as here:
            tasks = len(asyncio.all_tasks())
            await storm(server, here.port, KEY, dice, 10_000 if soak else 300)
            await until(lambda: gateway.lifecycle.open == 0 and server.busy == 0)
            await gateway.background.drain(10)
            # The connections that were kept are good ones.
            for number in range(10):
                leaver = Leaver(server, here.port, KEY)
                await leaver.ask(Case("drip", "whole", "length" if number % 2 else "chunked", "unary"))
                await leaver.read_until([b'"usage":'])
                leaver.leave(politely=True)
            await until(lambda: gateway.lifecycle.open == 0 and not here.state.connections)
            await upstream.close()
            await until(lambda: server.open == 0)
            await until(lambda: len(asyncio.all_tasks()) <= tasks)
        assert inside.worker_registry.inside == 0
        assert inside.bodies._in_flight == 0
        selector = gateway.selector
        assert {state.in_flight for state in selector._deployment_states.values()} == {0}
        assert {route_state.budget.in_use for route_state in selector._on_demand.values()} == {0}
        recorder = inside.bench.recorder
        ends = Counter(record.request_id for record in recorder.journalled)
        assert set(ends.values()) == {1}
        assert {attempt.request_id for attempt in recorder.begun} <= ends.keys()
        assert Counter(record.outcome for record in recorder.journalled)["aborted"] > 50
    assert alive() == before
