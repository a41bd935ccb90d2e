"""A gateway of fakes that caches replies in memory, and an upstream that answers when a test says so."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import msgspec

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.models import Model
from llm_gateway.core.config.providers import Provider
from llm_gateway.core.config.snapshot import build_snapshot
from llm_gateway.flow.gateway import Options
from llm_gateway.flow.ports.dialect import CostHeaders
from llm_gateway.flow.reply_cache.store import ReplyStore
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import Reply, WholeReply
from llm_gateway.infra.reply_cache.in_process import InProcessReplyCache
from llm_gateway.providers.base import UpstreamRequest
from llm_gateway.providers.registry import KINDS
from tests.fakes.in_memory import KEY, FakeGateway, FakeReply, Fixed, ScriptedUpstream, credential, provider

LARGEST = 10_000


class GatedUpstream(ScriptedUpstream):
    """Answers when `gate` is open."""

    def __init__(self, **answers: Any) -> None:
        super().__init__(**answers)
        self.gate = asyncio.Event()

    async def send(self, request: UpstreamRequest, timeout: float) -> FakeReply:
        answer = await super().send(request, timeout)
        await self.gate.wait()
        return answer


class CachingGateway(FakeGateway):
    """A bench with one model `m`, and a count of what the cache said."""

    def __init__(
        self,
        upstream: ScriptedUpstream,
        *,
        providers: tuple[Provider, ...] = (),
        credentials: tuple[Credential, ...] | None = None,
        model: Model | None = None,
        options: Options | None = None,
    ) -> None:
        super().__init__(upstream=upstream, options=options)
        self.gate = upstream.gate if isinstance(upstream, GatedUpstream) else asyncio.Event()
        self.results: Counter[str] = Counter()
        cache = InProcessReplyCache(80_000, self.clock)
        store = ReplyStore(
            cache, namespace=b"here", largest=LARGEST, count=lambda result: self.results.update([result])
        )
        self.store = store
        self.gateway = replace(self.gateway, replies=store)
        self.configure(providers or (provider("a"),), credentials or (credential(),), model)

    def configure(
        self, providers: tuple[Provider, ...], credentials: tuple[Credential, ...], model: Model | None = None
    ) -> None:
        """Put another configuration in force."""
        catalog = Catalog(
            version=8, providers=providers, credentials=credentials, models=() if model is None else (model,)
        )
        self.gateway = replace(self.gateway, snapshots=Fixed(build_snapshot(catalog, KINDS)))

    async def ask(
        self,
        wish: str | None = None,
        *,
        key: str = KEY,
        headers: dict[str, str] | None = None,
        costs: CostHeaders | None = None,
        **fields: Any,
    ) -> Reply:
        """Send one chat request; `wish` is the client's x-llm-gateway-cache."""
        body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "a b"}]} | fields)
        return await self.ask_raw(body, wish, key=key, headers=headers, costs=costs)

    async def ask_raw(
        self,
        body: bytes,
        wish: str | None,
        *,
        key: str = KEY,
        headers: dict[str, str] | None = None,
        costs: CostHeaders | None = None,
    ) -> Reply:
        """Send a body as it is."""
        call = msgspec.structs.replace(
            self.call(api_key=key),
            cache_directive=wish,
            forwarded={"x-request-id": "id", **(headers or {})},
            cost_headers=costs,
        )

        call.request_bytes = len(body)
        return await handle(self.gateway, call, lambda: body)


def body(text: str = "Hi", end: str = "stop", **more: Any) -> bytes:
    """Return a whole chat reply."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": end}
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    return msgspec.json.encode({"id": "x", "choices": [choice], "usage": usage, **more})


def said(reply: Reply) -> str | None:
    """Return what the reply's x-llm-gateway-cache says."""
    values = [value.decode() for name, value in reply.headers if name == b"x-llm-gateway-cache"]
    assert len(values) <= 1
    return values[0] if values else None


async def consume(reply: Reply) -> bytes:
    """Return all bytes of a reply, whole or streamed, and close it."""
    if isinstance(reply, WholeReply):
        return reply.body
    out = bytearray()

    def sink(data: bytes) -> bool:
        out.extend(data)
        return True

    try:
        while True:
            data, last = await reply.next()
            out.extend(data)
            if last:
                return bytes(out)
            await reply.relay(sink)
    finally:
        reply.close()
