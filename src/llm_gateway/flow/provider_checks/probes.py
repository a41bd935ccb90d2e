"""Probes providers by requesting their model lists, for `/v1/models` and to see whether they respond."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import msgspec

from llm_gateway.core.config.deployments import EnabledProvider
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.listeners import notify
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.model_lists import has_more_pages

_TIMEOUT = 5.0
_LIST_LIMIT = 8 * 1024 * 1024
_MAX_CONCURRENT = 64
_TICK = 1.0
# The time between two probes varies at random by this share, up or down.
_JITTER = 0.1

# Answers of providers that have no model list, do not show it to this key, or are asked too often: they work, and
# what they say of their list says nothing about their replies.
_NO_LIST = frozenset({400, 403, 404, 405, 410, 429, 501})

# Called with a provider's key, and whether it returned its model list; not called if it answered that it has none.
OnAnswer = Callable[[str, bool], None]


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one probe. `checked_at` is Unix microseconds. Contains no URL and no secret."""

    provider: str
    status: Literal["healthy", "unhealthy"]
    latency_ms: float
    checked_at: int
    error: str | None
    models: tuple[str, ...]


def probe_fields(probe: Probe) -> dict[str, object]:
    """Return a probe as clients see it."""
    checked = datetime.fromtimestamp(probe.checked_at / 1e6, UTC)
    return {
        "status": probe.status,
        "latency_ms": probe.latency_ms,
        "checked_at": checked.isoformat().replace("+00:00", "Z"),
        "error": probe.error,
    }


class _Listing(NamedTuple):
    """What came of asking a provider for its models."""

    models: Sequence[str] = ()
    error: str | None = None
    is_healthy: bool = False
    # Whether these are all of its models.
    is_complete: bool = False
    # Whether the answer says anything of the provider's health at all.
    tells: bool = True


class Prober:
    """Probes providers, each at most once per `ttl` seconds and configuration version."""

    def __init__(self, gateway: Gateway, *, ttl: float, on_answer: OnAnswer | None = None) -> None:
        self._gateway = gateway
        self._on_answer = on_answer
        self._ttl = ttl
        self._known: dict[tuple[int, int], tuple[float, asyncio.Task[Probe]]] = {}
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)

    async def probe_all(self, snapshot: Snapshot) -> dict[str, Probe]:
        """Probe all enabled providers concurrently; return the results by provider key."""
        return await self._probe(snapshot, snapshot.providers)

    async def probe_wildcards(self, snapshot: Snapshot) -> dict[str, Probe]:
        """Probe the providers whose mapping contains patterns; return the results by provider key."""
        return await self._probe(snapshot, snapshot.wildcard_providers)

    async def _probe(self, snapshot: Snapshot, providers: tuple[EnabledProvider, ...]) -> dict[str, Probe]:
        now = self._gateway.clock.monotonic()
        self._known = {key: known for key, known in self._known.items() if known[0] > now}
        tasks = []
        for provider in providers:
            key = (snapshot.version, provider.provider.id)
            known = self._known.get(key)
            if known is None:
                known = (now + self._ttl, asyncio.ensure_future(self.probe(provider)))
                self._known[key] = known
            tasks.append(known[1])
        # Shielded, because other callers may be waiting for the same task when this one is cancelled.
        probes = await asyncio.gather(*(asyncio.shield(task) for task in tasks))
        return {probe.provider: probe for probe in probes}

    async def probe(self, provider: EnabledProvider) -> Probe:
        """Probe one provider now. If it responds, its open breakers may send a trial immediately."""
        clock = self._gateway.clock
        async with self._slots:
            started = clock.monotonic()
            listing = await self._list(provider)
        if self._on_answer is not None and listing.tells:
            notify(self._on_answer, provider.provider.provider_key, listing.is_healthy)
        if listing.is_healthy:
            self._gateway.selector.allow_trial(provider.provider.provider_key, clock.monotonic())
            self._learn(provider, listing.models if listing.is_complete else ())
        return Probe(
            provider=provider.provider.provider_key,
            status="healthy" if listing.is_healthy else "unhealthy",
            latency_ms=round((clock.monotonic() - started) * 1000, 3),
            checked_at=clock.unix_us(),
            error=listing.error,
            models=tuple(listing.models),
        )

    def _learn(self, provider: EnabledProvider, models: Sequence[str]) -> None:
        """Tell routing which models a provider has; an empty or partial list does not say which it lacks."""
        unserved = self._gateway.selector.unserved
        if models and provider.kind.lists_all_models:
            unserved.learn_list(provider.provider, models, self._gateway.clock.monotonic())
        else:
            unserved.forget_list(provider.provider)

    async def _list(self, provider: EnabledProvider) -> _Listing:
        adapter = self._gateway.adapters[provider.provider.provider_type]
        try:
            provider = await self._with_token(provider)
            reply = await self._gateway.upstream.send(adapter.models_request(provider), _TIMEOUT)
            try:
                if reply.status in _NO_LIST:
                    error = f"the provider shows no list of models (status {reply.status})"
                    return _Listing(error=error, is_healthy=True, tells=False)
                if not 200 <= reply.status < 300:
                    return _Listing(error=f"the provider answered with status {reply.status}")
                body = await reply.read_all(_LIST_LIMIT, _TIMEOUT)
                return _Listing(
                    adapter.decode_models(body), is_healthy=True, is_complete=not has_more_pages(body)
                )
            finally:
                reply.close()
        except TransportError as fault:
            return _Listing(error=str(fault), tells=fault.kind != "proxy")
        except BadReply as fault:
            return _Listing(error=str(fault))

    async def _with_token(self, provider: EnabledProvider) -> EnabledProvider:
        """Return the provider with an access token as its secret, if it uses OAuth2."""
        known = provider.provider
        if known.oauth2 is None or known.secret is None:
            return provider
        token = await self._gateway.tokens.token(known.id, known.oauth2, known.secret, _TIMEOUT)
        return EnabledProvider(msgspec.structs.replace(known, secret=token), provider.kind)


class PeriodicProbes:
    """Probes the providers that have a `probe_interval`.

    Every worker of a machine probes on its own, at a rate that makes all of them together keep the interval.
    The start and each wait are random. So the workers need no coordination, the breakers of every worker profit,
    and a provider does not receive all probes at once.
    """

    def __init__(self, gateway: Gateway, prober: Prober, *, workers: int) -> None:
        """`workers` is the number of workers that probe, including this one."""
        self._gateway = gateway
        self._prober = prober
        self._workers = workers
        # By provider id: its interval, and the time of its next probe.
        self._due: dict[int, tuple[float, float]] = {}
        self._running: set[int] = set()

    async def run(self) -> None:
        """Probe until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                for provider in self.take_due():
                    group.create_task(self._run_probe(provider))
                await self._gateway.sleep(_TICK)

    def take_due(self) -> list[EnabledProvider]:
        """Return the providers to probe now and schedule their next probes. Skip those that are being probed."""
        snapshot, now = self._gateway.snapshots.current, self._gateway.clock.monotonic()
        due: dict[int, tuple[float, float]] = {}
        found = []
        for provider in snapshot.providers if snapshot is not None else ():
            interval, key = provider.provider.probe_interval, provider.provider.id
            if interval is None:
                continue
            draw = self._gateway.selector.draw()
            known, at = self._due.get(key, (None, 0.0))
            if known != interval:
                at = now + interval * self._workers * draw
            elif at <= now and key not in self._running:
                found.append(provider)
                at = now + interval * self._workers * (1 + _JITTER * (2 * draw - 1))
            due[key] = (interval, at)
        self._due = due
        return found

    async def _run_probe(self, provider: EnabledProvider) -> None:
        self._running.add(provider.provider.id)
        try:
            await self._prober.probe(provider)
        finally:
            self._running.discard(provider.provider.id)


async def list_models(snapshot: Snapshot, prober: Prober) -> list[str]:
    """Return every public model once: mapped names first, then the models that wildcard providers list."""
    models = dict.fromkeys(snapshot.explicit_models)
    if snapshot.wildcard_providers:
        probes = await prober.probe_wildcards(snapshot)
        for provider in snapshot.wildcard_providers:
            probe = probes[provider.provider.provider_key]
            for name in probe.models:
                if provider.upstream_model(name) is not None:
                    models[name] = None
    return list(models)
