"""Asks providers what models they have: for /v1/models, and because whoever answers that is alive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

import msgspec

from llm_gateway.core.config.snapshot import EnabledProvider, Snapshot
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.wire.errors import BadReply

_TIMEOUT = 5.0
_LIST_LIMIT = 8 * 1024 * 1024
_AT_ONCE = 64
_TICK = 1.0
# By how much the time between two probes varies, up and down.
_JITTER = 0.1

# Is told a provider's key, and whether it answered.
Answered = Callable[[str, bool], None]


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What one provider answered; times are Unix microseconds and milliseconds. No URL and no secret."""

    provider: str
    status: Literal["healthy", "unhealthy"]
    latency_ms: float
    checked_at: int
    error: str | None
    models: tuple[str, ...]


class Prober:
    """Probes providers, each at most once in `ttl` seconds and config version, and one at a time."""

    def __init__(self, gateway: Gateway, *, ttl: float, answered: Answered | None = None) -> None:
        """Keep answers for `ttl` seconds, and tell `answered` of each."""
        self._gateway = gateway
        self._answered = answered
        self._ttl = ttl
        self._known: dict[tuple[int, int], tuple[float, asyncio.Task[Probe]]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def probe_all(self, snapshot: Snapshot) -> dict[str, Probe]:
        """Return each enabled provider's answer, all asked at once, by provider_key."""
        return await self._probe(snapshot, snapshot.providers)

    async def probe_wildcards(self, snapshot: Snapshot) -> dict[str, Probe]:
        """Return the answers of the providers that serve names they do not list."""
        return await self._probe(snapshot, snapshot.wildcard_providers)

    async def _probe(self, snapshot: Snapshot, providers: tuple[EnabledProvider, ...]) -> dict[str, Probe]:
        now = self._gateway.clock.monotonic()
        self._known = {key: known for key, known in self._known.items() if known[0] > now}
        tasks = []
        for provider in providers:
            key = (snapshot.version, provider.provider.id)
            known = self._known.get(key)
            if known is None:
                known = (now + self._ttl, asyncio.ensure_future(self.ask(provider)))
                self._known[key] = known
            tasks.append(known[1])
        # Shielded: who stops waiting does not end the flight of the others.
        probes = await asyncio.gather(*(asyncio.shield(task) for task in tasks))
        return {probe.provider: probe for probe in probes}

    async def ask(self, provider: EnabledProvider) -> Probe:
        """Return one provider's answer of this moment; a good one makes trials of its open breakers due."""
        clock = self._gateway.clock
        async with self._slots:
            started = clock.monotonic()
            error, models = await self._list(provider)
        if self._answered is not None:
            self._answered(provider.provider.provider_key, error is None)
        if error is None:
            self._gateway.selector.allow_trial(provider.provider.provider_key, clock.monotonic())
        return Probe(
            provider=provider.provider.provider_key,
            status="healthy" if error is None else "unhealthy",
            latency_ms=round((clock.monotonic() - started) * 1000, 3),
            checked_at=clock.unix_us(),
            error=error,
            models=tuple(models),
        )

    async def _list(self, provider: EnabledProvider) -> tuple[str | None, list[str]]:
        adapter = self._gateway.adapters[provider.provider.provider_type]
        try:
            provider = await self._with_token(provider)
            reply = await self._gateway.upstream.send(adapter.models_request(provider), _TIMEOUT)
            try:
                if not 200 <= reply.status < 300:
                    return f"the provider answered with status {reply.status}", []
                return None, adapter.decode_models(await reply.read_all(_LIST_LIMIT, _TIMEOUT))
            finally:
                reply.close()
        except (TransportError, BadReply) as fault:
            return str(fault), []

    async def _with_token(self, provider: EnabledProvider) -> EnabledProvider:
        """Put an access token in the place of the secret that it is got with."""
        known = provider.provider
        if known.oauth2 is None or known.secret is None:
            return provider
        token = await self._gateway.tokens.token(known.id, known.oauth2, known.secret, _TIMEOUT)
        return EnabledProvider(msgspec.structs.replace(known, secret=token), provider.kind)


class PeriodicProbes:
    """Asks those providers unasked that have a `probe_interval`.

    Every worker of a machine asks for itself, and so seldom that together they keep the interval; they begin
    at random moments, and no two waits are quite the same. So nobody has to be elected, every worker's
    breakers learn of it, and no provider sees them all at once.
    """

    def __init__(self, gateway: Gateway, prober: Prober, *, workers: int) -> None:
        """Probe with `prober`, beside `workers - 1` others."""
        self._gateway = gateway
        self._prober = prober
        self._workers = workers
        # By provider id: its interval, and when it is asked next.
        self._due: dict[int, tuple[float, float]] = {}
        self._asking: set[int] = set()

    async def run(self) -> None:
        """Probe until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                for provider in self.take_due():
                    group.create_task(self._ask(provider))
                await self._gateway.sleep(_TICK)

    def take_due(self) -> list[EnabledProvider]:
        """Return who is to be asked now, each until it is due again; who is still being asked waits."""
        snapshot, now = self._gateway.snapshots.current, self._gateway.clock.monotonic()
        due: dict[int, tuple[float, float]] = {}
        found = []
        for provider in snapshot.providers if snapshot is not None else ():
            interval, key = provider.provider.probe_interval, provider.provider.id
            if interval is None:
                continue
            draw = self._gateway.selector.draw()
            asked, at = self._due.get(key, (None, 0.0))
            if asked != interval:
                at = now + interval * self._workers * draw
            elif at <= now and key not in self._asking:
                found.append(provider)
                at = now + interval * self._workers * (1 + _JITTER * (2 * draw - 1))
            due[key] = (interval, at)
        self._due = due
        return found

    async def _ask(self, provider: EnabledProvider) -> None:
        self._asking.add(provider.provider.id)
        try:
            await self._prober.ask(provider)
        finally:
            self._asking.discard(provider.provider.id)


async def list_models(snapshot: Snapshot, prober: Prober) -> list[str]:
    """Return every public model, once: explicit names, then what wildcard providers list."""
    models = dict.fromkeys(snapshot.explicit_models)
    if snapshot.wildcard_providers:
        probes = await prober.probe_wildcards(snapshot)
        for provider in snapshot.wildcard_providers:
            probe = probes[provider.provider.provider_key]
            for name in probe.models:
                if provider.upstream_model(name) is not None:
                    models[name] = None
    return list(models)
