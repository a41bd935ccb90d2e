"""Asks providers what models they have: for /v1/models, and because whoever answers that is alive."""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec

from llm_gateway.core.snapshot import ServingProvider, Snapshot
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports import UpstreamFault
from llm_gateway.providers.base import BadReply

_TIMEOUT = 5.0
_LIST_LIMIT = 8 * 1024 * 1024
_AT_ONCE = 64


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

    def __init__(self, gateway: Gateway, *, ttl: float) -> None:
        """Keep answers for `ttl` seconds."""
        self._gateway = gateway
        self._ttl = ttl
        self._known: dict[tuple[int, int], tuple[float, asyncio.Task[Probe]]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def probe_all(self, snapshot: Snapshot) -> dict[str, Probe]:
        """Return each enabled provider's answer, all asked at once, by provider_key."""
        return await self._probe(snapshot, snapshot.providers)

    async def probe_wildcards(self, snapshot: Snapshot) -> dict[str, Probe]:
        """Return the answers of the providers that serve names they do not list."""
        return await self._probe(snapshot, snapshot.wildcard_providers)

    async def _probe(self, snapshot: Snapshot, providers: tuple[ServingProvider, ...]) -> dict[str, Probe]:
        now = self._gateway.clock.monotonic()
        self._known = {key: known for key, known in self._known.items() if known[0] > now}
        tasks = []
        for provider in providers:
            key = (snapshot.version, provider.provider.id)
            known = self._known.get(key)
            if known is None:
                known = (now + self._ttl, asyncio.ensure_future(self._ask(provider)))
                self._known[key] = known
            tasks.append(known[1])
        # Shielded: who stops waiting does not end the flight of the others.
        probes = await asyncio.gather(*(asyncio.shield(task) for task in tasks))
        return {probe.provider: probe for probe in probes}

    async def _ask(self, provider: ServingProvider) -> Probe:
        clock = self._gateway.clock
        async with self._slots:
            started = clock.monotonic()
            error, models = await self._list(provider)
        return Probe(
            provider=provider.provider.provider_key,
            status="healthy" if error is None else "unhealthy",
            latency_ms=round((clock.monotonic() - started) * 1000, 3),
            checked_at=clock.unix_us(),
            error=error,
            models=tuple(models),
        )

    async def _list(self, provider: ServingProvider) -> tuple[str | None, list[str]]:
        adapter = self._gateway.adapters[provider.provider.provider_type]
        try:
            reply = await self._gateway.upstream.send(adapter.models_request(provider), _TIMEOUT)
            try:
                if not 200 <= reply.status < 300:
                    return f"the provider answered with status {reply.status}", []
                return None, adapter.decode_models(await reply.read_all(_LIST_LIMIT, _TIMEOUT))
            finally:
                reply.close()
        except (UpstreamFault, BadReply) as fault:
            return str(fault), []


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
