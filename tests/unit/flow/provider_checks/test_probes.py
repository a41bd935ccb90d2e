"""All workers together probe each provider at its interval, spread over time."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.flow.provider_checks.probes import PeriodicProbes, Prober
from llm_gateway.flow.routing.selector import Selector
from tests.fakes.in_memory import FakeGateway, FakeReply, Fixed, ScriptedUpstream, provider
from tests.fakes.routing import snapshot_of, trip

LIST = b'{"data":[{"id":"up"}]}'


def bench_of(*providers: Any, draw: Any = lambda: 0.5, **answers: Any) -> FakeGateway:
    return FakeGateway(*providers, upstream=ScriptedUpstream(**answers), selector=Selector(draw=draw))


def periodic(
    bench: FakeGateway, *, workers: int = 1, heard: list[tuple[str, bool]] | None = None
) -> PeriodicProbes:
    prober = Prober(
        bench.gateway,
        ttl=5.0,
        on_answer=lambda key, good: None if heard is None else heard.append((key, good)),
    )
    return PeriodicProbes(bench.gateway, prober, workers=workers)


def due_times(bench: FakeGateway, probes: PeriodicProbes, seconds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    start = bench.clock.now
    while bench.clock.now < start + seconds:
        for each in probes.take_due():
            found.setdefault(each.provider.provider_key, []).append(bench.clock.now - start)
        bench.clock.now += 1
    return found


def test_only_providers_with_an_interval_are_probed_and_at_that_interval() -> None:
    bench = bench_of(
        provider("a", 1, probe_interval=10.0), provider("b", 2, probe_interval=60.0), provider("c", 3)
    )
    found = due_times(bench, periodic(bench), 600)
    assert found.keys() == {"a", "b"}
    assert len(found["a"]) in range(58, 62)
    assert len(found["b"]) in range(9, 12)


def test_more_workers_probe_less_often_each_and_start_at_different_times() -> None:
    numbers = random.Random(3)
    bench = bench_of(*(provider(f"p{n}", n, probe_interval=10.0) for n in range(1, 101)), draw=numbers.random)
    found = due_times(bench, periodic(bench, workers=4), 400)
    assert all(len(times) in range(8, 13) for times in found.values())
    at_once = [sum(second in times for times in found.values()) for second in range(400)]
    # A hundred providers, each every 40 seconds: two or three a second if spread evenly.
    assert max(at_once) < 20


def test_a_changed_interval_takes_effect_and_removed_providers_are_dropped() -> None:
    bench = bench_of(provider("a", 1, probe_interval=1000.0))
    probes = periodic(bench)
    assert due_times(bench, probes, 100) == {}
    object.__setattr__(bench.gateway, "snapshots", Fixed(snapshot_of(provider("a", 1, probe_interval=10.0))))
    assert len(due_times(bench, probes, 100)["a"]) >= 8
    object.__setattr__(bench.gateway, "snapshots", Fixed(None))
    assert due_times(bench, probes, 100) == {}
    assert probes._due == {}


async def test_answers_are_reported_and_a_running_probe_is_not_repeated() -> None:
    release = asyncio.Event()

    class Slow(ScriptedUpstream):
        async def send(self, request: Any, timeout: float) -> FakeReply:
            await release.wait()
            return await super().send(request, timeout)

    bench = bench_of(provider("a", 1, probe_interval=1.0), provider("b", 2, probe_interval=1.0))
    bench.upstream = Slow(a=lambda _: FakeReply(LIST), b=TransportError("connect", "refused"))
    object.__setattr__(bench.gateway, "upstream", bench.upstream)
    heard: list[tuple[str, bool]] = []
    running = asyncio.ensure_future(periodic(bench, heard=heard).run())
    for _ in range(60):
        await asyncio.sleep(0)
    # Many seconds have passed, and each was asked once.
    assert (heard, len(bench.slept) > 20) == ([], True)
    release.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert {("a", True), ("b", False)} <= set(heard)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize(
    ("answer", "state"), [(FakeReply(LIST), "half_open"), (FakeReply(b"", status=500), "open")]
)
async def test_a_successful_probe_makes_the_trial_due_and_nothing_more(answer: FakeReply, state: str) -> None:
    bench = bench_of(provider("a", 1, model_mapping={"m": "up"}), a=answer)
    snapshot = bench.gateway.snapshots.current
    assert snapshot is not None
    trip(bench.gateway.selector, snapshot, "a", now=bench.clock.now)
    await Prober(bench.gateway, ttl=5.0).probe(snapshot.providers[0])
    (deployment,) = bench.gateway.selector.open_breakers()["a"]
    assert deployment.breaker.state(bench.clock.now) == state


async def test_a_provider_with_oauth2_receives_a_token() -> None:
    grant = ClientCredentials(token_url="https://id.test/token", client_id="me")
    bench = bench_of(provider("a", 1, oauth2=grant), a=FakeReply(LIST))
    snapshot = bench.gateway.snapshots.current
    assert snapshot is not None
    probe = await Prober(bench.gateway, ttl=5.0).probe(snapshot.providers[0])
    assert (probe.status, probe.models) == ("healthy", ("up",))
    assert bench.upstream.requests[0].headers["authorization"] == "Bearer token-0-of-1"


async def test_a_failure_of_the_operators_proxy_says_nothing_about_the_providers_health() -> None:
    heard: list[tuple[str, bool]] = []
    bench = bench_of(provider("a", 1), a=TransportError("proxy", "the proxy refused the connection"))
    snapshot = bench.gateway.snapshots.current
    assert snapshot is not None
    prober = Prober(bench.gateway, ttl=5.0, on_answer=lambda key, good: heard.append((key, good)))
    probe = await prober.probe(snapshot.providers[0])
    assert (probe.status, probe.error, heard) == ("unhealthy", "the proxy refused the connection", [])


@pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 429, 501])
async def test_a_provider_without_a_model_list_is_not_called_unhealthy(status: int) -> None:
    heard: list[tuple[str, bool]] = []
    bench = bench_of(provider("a", 1), a=lambda _: FakeReply(b"", status=status))
    prober = Prober(bench.gateway, ttl=5.0, on_answer=lambda key, good: heard.append((key, good)))
    snapshot = bench.gateway.snapshots.current
    assert snapshot is not None
    probe = (await prober.probe_all(snapshot))["a"]
    assert (probe.status, probe.models) == ("healthy", ())
    assert probe.error == f"the provider shows no list of models (status {status})"
    # The gauge stays what the last request made it.
    assert heard == []


@pytest.mark.parametrize("status", [302, 401, 402, 500, 502, 503, 504])
async def test_a_provider_that_fails_is_called_unhealthy(status: int) -> None:
    heard: list[tuple[str, bool]] = []
    bench = bench_of(provider("a", 1), a=lambda _: FakeReply(b"", status=status))
    prober = Prober(bench.gateway, ttl=5.0, on_answer=lambda key, good: heard.append((key, good)))
    snapshot = bench.gateway.snapshots.current
    assert snapshot is not None
    assert (await prober.probe_all(snapshot))["a"].status == "unhealthy"
    assert heard == [("a", False)]
