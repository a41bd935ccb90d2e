"""Streams send what changed, are bounded in number and time, and end with their session and their process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from llm_gateway.console.live import LiveStreams, SharedResult, digest, event
from llm_gateway.console.services import with_services
from llm_gateway.core.errors import RateLimited
from llm_gateway.flow.gateway import Lifecycle
from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.http.client_address import TrustedProxies

HEARTBEAT = b": still here\n\n"


class Scene:
    """A page that is open, and what happens to it."""

    def __init__(self, query: str = "") -> None:
        self.lifecycle = Lifecycle()
        self.is_signed_in = True
        self.texts: list[str | Exception] = ["one"]
        self.rendered = 0
        scope = {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "path": "/live",
            "query_string": query.encode(),
            "headers": [(b"cookie", b"llm-gateway-session=token")],
            "client": ("127.0.0.1", 1),
        }
        self.request = Request(scope)
        services: Any = SimpleNamespace(sessions=self, lifecycle=self.lifecycle, proxies=TrustedProxies())
        with_services(self.request, services, "")

    async def find(self, token: str) -> object | None:
        assert token == "token"
        return object() if self.is_signed_in else None

    async def render(self) -> str:
        self.rendered += 1
        text = self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]
        if isinstance(text, Exception):
            raise text
        return text

    def follow(self, streams: LiveStreams, every: float = 0.001) -> AsyncIterator[bytes]:
        response: Any = streams.response(self.request, self.render, every)
        events: AsyncIterator[bytes] = response.body_iterator
        return events


def streams(**options: Any) -> LiveStreams:
    return LiveStreams(**{"tick": 0.0, "lifetime": 0.05} | options)


async def all_of(events: AsyncIterator[bytes]) -> list[bytes]:
    return [one async for one in events]


async def test_only_what_changed_is_sent_and_the_stream_ends_so_that_browsers_connect_again() -> None:
    scene = Scene()
    scene.texts = ["one", "one", "two", "two"]
    sent = await all_of(scene.follow(streams()))
    assert sent == [b"retry: 3000\n\n", b"data: one\n\n", b"data: two\n\n"]
    assert scene.rendered > 3


async def test_what_the_page_shows_already_is_not_sent() -> None:
    scene = Scene(f"seen={digest('one')}")
    scene.texts = ["one", "two"]
    assert (await all_of(scene.follow(streams())))[1:] == [b"data: two\n\n"]


async def test_a_quiet_stream_has_heartbeats() -> None:
    sent = await all_of(Scene().follow(streams(heartbeat=0.01)))
    assert sent[:2] == [b"retry: 3000\n\n", b"data: one\n\n"]
    assert set(sent[2:]) == {HEARTBEAT}


async def test_a_stream_ends_with_its_session() -> None:
    scene = Scene()
    events = scene.follow(streams(lifetime=60))
    assert [await anext(events), await anext(events)] == [b"retry: 3000\n\n", b"data: one\n\n"]
    scene.is_signed_in = False
    assert await all_of(events) == [b"event: done\ndata:\n\n"]


async def test_a_stream_ends_when_the_process_drains() -> None:
    scene = Scene()
    events = scene.follow(streams(lifetime=60), every=60)
    await anext(events)
    await anext(events)
    scene.lifecycle.draining = True
    assert await all_of(events) == []


async def test_what_is_shown_stays_while_the_database_is_away() -> None:
    scene = Scene()
    scene.texts = ["one", StoreUnavailable("away"), StoreUnavailable("away"), "two"]
    assert (await all_of(scene.follow(streams())))[1:] == [b"data: one\n\n", b"data: two\n\n"]


def test_asking_for_the_head_alone_opens_no_stream() -> None:
    scene, live = Scene(), streams()
    scene.request.scope["method"] = "HEAD"
    response = live.response(scene.request, scene.render, 0.001)
    assert response.body == b""
    assert response.headers["content-type"].startswith("text/event-stream")


async def test_streams_are_bounded_and_counted_while_they_are_open() -> None:
    bounded = streams(most=1, lifetime=60)
    scene = Scene()
    begun = asyncio.Event()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            begun.set()

    async def receive() -> Any:
        await asyncio.Event().wait()

    response = bounded.response(scene.request, scene.render, 0.001)
    serving = asyncio.create_task(response(scene.request.scope, receive, send))
    await begun.wait()
    assert bounded.open == 1
    with pytest.raises(RateLimited, match="1 pages of the console follow this process already") as refused:
        bounded.response(scene.request, scene.render, 0.001)
    assert refused.value.retry_after == 30
    scene.lifecycle.draining = True
    await serving
    assert bounded.open == 0


@given(st.text())
def test_an_event_has_the_text_whatever_its_lines(text: str) -> None:
    lines = event(text).decode("utf-8", "replace").split("\n")
    assert lines[-2:] == ["", ""]
    assert all(line.startswith("data: ") for line in lines[:-2])
    received = "\n".join(line.removeprefix("data: ") for line in lines[:-2])
    sent = text.encode("utf-8", "replace").decode()
    assert received == sent.replace("\r\n", "\n").replace("\r", "\n")


class Work:
    """Work that counts how often it is done."""

    def __init__(self) -> None:
        self.now = 0.0
        self.takes = 0.0
        self.done = 0
        self.shared = SharedResult(self.do, lambda: self.now)

    async def do(self) -> int:
        self.done += 1
        self.now += self.takes
        await asyncio.sleep(0)
        if self.done == 13:
            raise ValueError("unlucky")
        return self.done


async def test_many_that_ask_at_once_have_one_result() -> None:
    work = Work()
    assert await asyncio.gather(*(work.shared.get(0.0) for _ in range(50))) == [1] * 50


async def test_a_result_is_shared_until_it_is_too_old() -> None:
    work = Work()
    assert await work.shared.get(5) == 1
    work.now = 5
    assert await work.shared.get(5) == 1
    work.now = 5.1
    assert await work.shared.get(5) == 2


async def test_slow_work_is_done_a_twentieth_of_the_time() -> None:
    work = Work()
    work.takes = 2
    assert await work.shared.get(1) == 1
    work.now = 40
    assert await work.shared.get(1) == 1
    work.now = 40.1
    assert await work.shared.get(1) == 2


async def test_failed_work_is_done_again_and_a_client_that_leaves_stops_nothing() -> None:
    work = Work()
    work.done = 12
    with pytest.raises(ValueError, match="unlucky"):
        await work.shared.get(1)
    work.now = 1.1
    leaving = asyncio.ensure_future(work.shared.get(1))
    staying = asyncio.ensure_future(work.shared.get(1))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == 14
