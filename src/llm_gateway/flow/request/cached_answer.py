"""Answers from the reply cache if the rules and the client allow it, and stores the replies of providers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.snapshot import Principal, Route
from llm_gateway.core.errors import BadRequest
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.accounting.meter import Meter
from llm_gateway.flow.accounting.reply_facts import MeteredReply
from llm_gateway.flow.call import Call
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.heavy_work import LARGE_BODY
from llm_gateway.flow.ports.dialect import Dialect, Headers
from llm_gateway.flow.reply_cache.entry import CachedReply, is_cacheable, make_cached_reply
from llm_gateway.flow.reply_cache.keys import is_deterministic, is_stateful, make_key
from llm_gateway.flow.reply_cache.store import InFlightRequest, ReplyStore
from llm_gateway.flow.request.reply import Reply, StreamReply, WholeReply
from llm_gateway.flow.request.streaming.cached_stream import RecordingStream, ReplayedStream

Ask = Callable[[], Awaitable[WholeReply | StreamReply]]

HEADER: Final = b"x-llm-gateway-cache"
# Bytes. The reply to a request with a larger body is not cached: its key takes several copies of the body in memory.
LARGEST_CACHED_REQUEST: Final = 8 * 1024 * 1024
# Values of that header.
_DIRECTIVES = frozenset({"on", "refresh", "off", "bypass"})
_ENABLING = frozenset({"on", "refresh"})
# After waiting for this many identical requests without a result, a request is sent on its own.
_MAX_FRUITLESS_WAITS = 2


async def answer_with_cache(
    gateway: Gateway,
    call: Call,
    request: ModelRequest,
    account: Principal,
    route: Route,
    meter: Meter,
    ask: Ask,
) -> Reply:
    """Return a cached reply, or that of `ask`; a header tells which. Raise BadRequest for an unknown directive."""
    directive = _directive(call)
    store = gateway.replies
    rules = _rules(account, route, directive)
    key = None
    if store is not None and rules is not None:
        find_key = partial(_key, store, rules, call, request, account, route, directive)
        if call.request_bytes < LARGE_BODY:
            key = find_key()
        elif call.request_bytes <= LARGEST_CACHED_REQUEST:
            key = await gateway.heavy_work.run(find_key)
    if store is None or rules is None or key is None:
        if store is not None:
            store.count("bypass")
        reply: Reply = await ask()
        reply.headers += ((HEADER, b"bypass"),)
        return reply
    ttl = gateway.options.cache_ttl if rules.ttl is None else rules.ttl
    lookup = _Lookup(gateway, call.dialect, store, request, route, meter, ask, key, ttl)
    if directive == "refresh":
        return await lookup.ask_and_store()
    # A stream can be shared only after its end; a request that waited for it would not be streamed.
    return await (lookup.find_or_ask() if request.stream else lookup.share())


def _directive(call: Call) -> str | None:
    if call.cache_directive is not None and call.cache_directive not in _DIRECTIVES:
        message = "The header x-llm-gateway-cache must be on, refresh, off or bypass."
        raise BadRequest(message)
    return call.cache_directive


def _rules(account: Principal, route: Route, directive: str | None) -> CacheRules | None:
    """Return the cache rules in force, None when the cache is not used.

    A credential's rules replace a model's. Without either, the header alone enables the cache; it cannot enable
    what an admin has disabled.
    """
    if directive is not None and directive not in _ENABLING:
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
    directive: str | None,
) -> bytes | None:
    """Return the request's key, None when a cached reply cannot answer it."""
    if is_stateful(request) or not (directive in _ENABLING or is_deterministic(request)):
        return None
    credential_id = None if rules.is_shared else account.credential.id
    return make_key(
        request, route, credential_id=credential_id, headers=call.forwarded, namespace=store.namespace
    )


class _Lookup:
    """One request that has a key."""

    __slots__ = ("_ask", "_dialect", "_gateway", "_key", "_meter", "_request", "_route", "_store", "_ttl")

    def __init__(
        self,
        gateway: Gateway,
        dialect: Dialect,
        store: ReplyStore,
        request: ModelRequest,
        route: Route,
        meter: Meter,
        ask: Ask,
        key: bytes,
        ttl: float,
    ) -> None:
        self._gateway = gateway
        self._dialect = dialect
        self._store = store
        self._request = request
        self._route = route
        self._meter = meter
        self._ask = ask
        self._key = key
        self._ttl = ttl

    async def find_or_ask(self) -> Reply:
        cached = await self._store.find(self._key)
        return await self.ask_and_store() if cached is None else self._replay(cached)

    async def share(self) -> Reply:
        """Return a cached reply, or that of an identical request in flight; send the request if there is neither.

        Waits at most LLM_TIMEOUT seconds in total.
        """
        clock = self._gateway.clock
        until = clock.monotonic() + self._gateway.options.llm_timeout
        fruitless = 0
        while fruitless < _MAX_FRUITLESS_WAITS:
            flight = self._store.in_flight.get(self._key)
            if flight is None:
                return await self._lead()
            if not await flight.wait(max(until - clock.monotonic(), 0.0)):
                break
            if flight.reply is not None:
                return self._replay(flight.reply)
            fruitless += not flight.abandoned
        return await self.ask_and_store()

    async def _lead(self) -> Reply:
        flight = self._store.in_flight[self._key] = InFlightRequest()
        try:
            cached = await self._store.find(self._key)
            if cached is None:
                return await self.ask_and_store(flight)
            flight.resolve(cached)
            return self._replay(cached)
        except asyncio.CancelledError:
            # Its upstream call is closed already: one of the waiting requests sends another.
            flight.abandoned = True
            raise
        finally:
            del self._store.in_flight[self._key]
            flight.resolve(None)

    async def ask_and_store(self, flight: InFlightRequest | None = None) -> Reply:
        """Return the providers' reply and store it if possible; requests that wait for it get it first."""
        self._store.count("miss")
        reply = await self._ask()
        if not isinstance(reply, WholeReply):
            headers = reply.headers

            async def store(body: bytes) -> None:
                await self._store_entry(self._entry(body, headers))

            answer: Reply = RecordingStream(reply, store, self._store.largest)
        else:
            answer = reply
            entry = self._entry(reply.canonical, reply.headers)
            if flight is not None:
                flight.resolve(entry)
            await self._store_entry(entry)
        answer.headers += ((HEADER, b"miss"),)
        return answer

    def _entry(self, body: bytes, headers: Headers) -> CachedReply | None:
        """Return the reply's cache entry; None unless the reply is complete, successful and from this model."""
        record = self._meter.record
        if record is None or record.outcome != "ok":
            return None
        # A fallback model's answer would outlive the failure that caused the fallback.
        own = {(one.provider_key, one.upstream_model) for one in self._route.deployments}
        if (record.provider, record.upstream_model) not in own:
            return None
        if not is_cacheable(self._request.traits, body, stream=self._request.stream):
            return None
        return make_cached_reply(body, headers, record, self._gateway.clock.unix_us())

    async def _store_entry(self, entry: CachedReply | None) -> None:
        if entry is not None:
            await self._store.store(self._key, entry, self._ttl)

    def _replay(self, cached: CachedReply) -> Reply:
        self._store.count("hit")
        self._meter.answered_from_cache(cached.provider, cached.upstream_model)
        now = self._gateway.clock.monotonic()
        facts = MeteredReply(self._meter, cached.usage, None, self._route.model, now)
        reply: Reply
        if self._request.stream:
            reply = ReplayedStream(cached, self._request, self._dialect, self._meter, facts)
        else:
            encode = self._dialect.encode_reply
            body = cached.body if encode is None else encode(self._request, cached.body, facts)
            self._meter.response_bytes = len(body)
            self._meter.report("ok", cached.status, usage=cached.usage)
            reply = WholeReply(cached.status, body, cached.body)
        age = max(self._gateway.clock.unix_us() - cached.stored_at, 0) // 1_000_000
        reply.headers += (*cached.headers, (HEADER, b"hit"), (b"age", b"%d" % age))
        return reply
