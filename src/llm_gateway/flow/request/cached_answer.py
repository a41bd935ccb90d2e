"""Answers with a reply that was kept where that is wanted and right, and keeps what providers answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.snapshot import Principal, Route
from llm_gateway.core.errors import BadRequest
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.accounting.meter import Meter
from llm_gateway.flow.call import Call
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.reply_cache.entry import CachedReply, is_worth_keeping, kept_reply
from llm_gateway.flow.reply_cache.keys import is_deterministic, is_stateful, make_key
from llm_gateway.flow.reply_cache.store import InFlightRequest, ReplyStore
from llm_gateway.flow.request.cached_stream import RecordingStream, ReplayedStream
from llm_gateway.flow.request.reply import Headers, Reply, WholeReply

Ask = Callable[[], Awaitable[Reply]]

HEADER: Final = b"x-llm-gateway-cache"
# What a client may say in that header.
_WISHES = frozenset({"on", "refresh", "off", "bypass"})
_ASKED_FOR = frozenset({"on", "refresh"})
# A request that has waited for this many flights which brought it nothing goes on its own.
_PATIENCE = 2


async def answer_with_cache(
    gateway: Gateway,
    call: Call,
    request: ModelRequest,
    account: Principal,
    route: Route,
    meter: Meter,
    ask: Ask,
) -> Reply:
    """Return a kept reply, or what `ask` brings; say which in a header. Raises what `ask` does, and BadRequest."""
    wish = _wish(call)
    store = gateway.replies
    rules = _rules(account, route, wish)
    key = None if store is None or rules is None else _key(store, rules, call, request, account, route, wish)
    if store is None or rules is None or key is None:
        if store is not None:
            store.count("bypass")
        reply = await ask()
        reply.headers += ((HEADER, b"bypass"),)
        return reply
    ttl = gateway.options.cache_ttl if rules.ttl is None else rules.ttl
    exchange = _Exchange(gateway, store, request, route, meter, ask, key, ttl)
    if wish == "refresh":
        return await exchange.ask_and_keep()
    # A stream has nothing to share before its end, and who waits for that has no stream.
    return await (exchange.find_or_ask() if request.stream else exchange.share())


def _wish(call: Call) -> str | None:
    if call.cache is not None and call.cache not in _WISHES:
        message = "The header x-llm-gateway-cache must be on, refresh, off or bypass."
        raise BadRequest(message)
    return call.cache


def _rules(account: Principal, route: Route, wish: str | None) -> CacheRules | None:
    """Return the rules in force, None when nothing is to be kept or found.

    A credential's stand in place of a model's. Without either a header is enough, but what an admin has
    switched off, no header switches on.
    """
    if wish is not None and wish not in _ASKED_FOR:
        return None
    rules = account.credential.cache or route.rules.cache or CacheRules()
    return rules if rules.is_enabled else None


def _key(
    store: ReplyStore,
    rules: CacheRules,
    call: Call,
    request: ModelRequest,
    account: Principal,
    route: Route,
    wish: str | None,
) -> bytes | None:
    """Return the request's key, None when a kept reply would be no answer to it."""
    if is_stateful(request) or not (wish in _ASKED_FOR or is_deterministic(request)):
        return None
    credential_id = None if rules.is_shared else account.credential.id
    return make_key(
        request, route, credential_id=credential_id, headers=call.forwarded, namespace=store.namespace
    )


class _Exchange:
    """One request that has a key."""

    __slots__ = ("_ask", "_gateway", "_key", "_meter", "_request", "_route", "_store", "_ttl")

    def __init__(
        self,
        gateway: Gateway,
        store: ReplyStore,
        request: ModelRequest,
        route: Route,
        meter: Meter,
        ask: Ask,
        key: bytes,
        ttl: float,
    ) -> None:
        self._gateway = gateway
        self._store = store
        self._request = request
        self._route = route
        self._meter = meter
        self._ask = ask
        self._key = key
        self._ttl = ttl

    async def find_or_ask(self) -> Reply:
        kept = await self._store.find(self._key)
        return await self.ask_and_keep() if kept is None else self._send_again(kept)

    async def share(self) -> Reply:
        """Find, or wait for an identical request that is on its way, or be the one that others wait for.

        Who waits does so for LLM_TIMEOUT at most, however many leave before it.
        """
        clock = self._gateway.clock
        until = clock.monotonic() + self._gateway.options.llm_timeout
        for_nothing = 0
        while for_nothing < _PATIENCE:
            flight = self._store.flights.get(self._key)
            if flight is None:
                return await self._lead()
            if not await flight.landing(max(until - clock.monotonic(), 0.0)):
                break
            if flight.reply is not None:
                return self._send_again(flight.reply)
            for_nothing += not flight.left
        return await self.ask_and_keep()

    async def _lead(self) -> Reply:
        flight = self._store.flights[self._key] = InFlightRequest()
        try:
            kept = await self._store.find(self._key)
            if kept is None:
                return await self.ask_and_keep(flight)
            flight.land(kept)
            return self._send_again(kept)
        except asyncio.CancelledError:
            # Its upstream is closed already: one of those who wait asks again.
            flight.left = True
            raise
        finally:
            del self._store.flights[self._key]
            flight.land(None)

    async def ask_and_keep(self, flight: InFlightRequest | None = None) -> Reply:
        """Return what the providers answer, kept if it may be; others have it from `flight` first of all."""
        self._store.count("miss")
        reply = await self._ask()
        if not isinstance(reply, WholeReply):
            headers = reply.headers

            async def keep(body: bytes) -> None:
                await self._keep(self._to_keep(body, headers))

            reply = RecordingStream(reply, keep, self._store.largest)
        else:
            kept = self._to_keep(reply.body, reply.headers)
            if flight is not None:
                flight.land(kept)
            await self._keep(kept)
        reply.headers += ((HEADER, b"miss"),)
        return reply

    def _to_keep(self, body: bytes, headers: Headers) -> CachedReply | None:
        """Return the reply as it is to be kept; None when it was not whole and well, or not this model's own."""
        record = self._meter.record
        if record is None or record.outcome != "ok":
            return None
        # A fallback's answer would outlive the reason for it.
        own = {(one.provider_key, one.upstream_model) for one in self._route.deployments}
        if (record.provider, record.upstream_model) not in own:
            return None
        if not is_worth_keeping(self._request.traits, body, stream=self._request.stream):
            return None
        return kept_reply(body, headers, record, self._gateway.clock.unix_us())

    async def _keep(self, kept: CachedReply | None) -> None:
        if kept is not None:
            await self._store.keep(self._key, kept, self._ttl)

    def _send_again(self, kept: CachedReply) -> Reply:
        self._store.count("hit")
        self._meter.answered_from_cache(kept.provider, kept.upstream_model)
        reply: Reply
        if self._request.stream:
            reply = ReplayedStream(kept, self._meter)
        else:
            self._meter.response_bytes = len(kept.body)
            self._meter.report("ok", kept.status, usage=kept.usage)
            reply = WholeReply(kept.status, kept.body)
        age = max(self._gateway.clock.unix_us() - kept.kept_at, 0) // 1_000_000
        reply.headers += (*kept.headers, (HEADER, b"hit"), (b"age", b"%d" % age))
        return reply
