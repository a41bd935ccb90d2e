"""Runs the upstream suites on every transport and on both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import uvloop

from llm_gateway.flow.ports.upstream import Upstream
from llm_gateway.infra.upstream.aiohttp.transport import AiohttpUpstream
from llm_gateway.infra.upstream.http11.pool import PooledUpstream
from llm_gateway.sockets.write_batch import ALWAYS, make_write_batch
from tests.fakes.upstream_calls import MakeUpstream


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run what is about transports on asyncio's loop and on uvloop."""
    if not item.path.name.startswith("test_upstream"):
        return {"asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=["aiohttp", "pool"])
async def make_upstream(request: pytest.FixtureRequest) -> AsyncIterator[MakeUpstream]:
    """Yield a function that makes transports of one sort; they are closed afterwards."""
    made: list[Upstream] = []

    def make(**options: Any) -> Upstream:
        given = {"connect_timeout": 5.0, **options}
        upstream: Upstream = (
            AiohttpUpstream(**given)
            if request.param == "aiohttp"
            else PooledUpstream(**given, batch=make_write_batch(patience=ALWAYS))
        )
        made.append(upstream)
        return upstream

    yield make
    for upstream in made:
        await upstream.close()


@pytest.fixture
def upstream(make_upstream: MakeUpstream) -> Upstream:
    """Return one transport."""
    return make_upstream()


@pytest.fixture
def not_with_aiohttp(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Return a function that says why this must fail with aiohttp."""

    def expect(reason: str) -> None:
        if request.node.callspec.params["make_upstream"] == "aiohttp":
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    return expect
