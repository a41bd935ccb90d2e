"""How the transport to providers is put together, and what workers tell one another of their deployments."""

from __future__ import annotations

import pytest

from llm_gateway.app.wiring import _busy_deployments, _upstream
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.infra.upstream.http11.pool import PooledUpstream
from llm_gateway.settings import Settings
from tests.fakes.given_settings import given_settings
from tests.fakes.in_memory import FakeGateway, ScriptedUpstream, provider
from tests.fakes.routing import plan_for, trip

VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir")


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in VARIABLES:
        for each in (name, name.upper()):
            monkeypatch.delenv(each, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PROXY", "socks5://me:hush@proxy:1080"),
        ("https_proxy", "http://me:hush@proxy:many"),
    ],
)
async def test_a_proxy_that_cannot_be_used_stops_the_start(
    environ: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environ.setenv(name, value)
    with pytest.raises(StartupError, match=name.upper()) as caught:
        _upstream(Settings(), PooledUpstream(connect_timeout=1.0))
    assert "me:hush" not in str(caught.value)


@pytest.mark.parametrize("transport", ["pool", "aiohttp"])
@pytest.mark.parametrize("proxy", [None, "proxy.test:3128"])
async def test_every_transport_starts_with_and_without_a_proxy(
    environ: pytest.MonkeyPatch, transport: str, proxy: str | None
) -> None:
    if proxy is not None:
        environ.setenv("HTTPS_PROXY", proxy)
    settings = given_settings(upstream_transport=transport)
    await _upstream(settings, PooledUpstream(connect_timeout=1.0)).close()


def test_what_a_worker_tells_the_others_of_its_deployments() -> None:
    bench = FakeGateway(provider("a", 1), provider("b", 2), upstream=ScriptedUpstream())
    gateway = bench.gateway
    snapshot = gateway.snapshots.current
    assert snapshot is not None
    now = gateway.clock.monotonic()
    trip(gateway.selector, snapshot, "a", now=now, retry_after=7.0)
    permit = plan_for(gateway.selector, snapshot).first(now).state.admit(now)
    found = {state.provider_key: state for state in _busy_deployments(gateway)}
    assert (found["a"].is_closed, round(found["a"].trial_in), found["a"].in_flight) == (False, 7, 0)
    assert (found["b"].is_closed, found["b"].trial_in, found["b"].in_flight) == (True, 0.0, 1)
    permit.release()
    assert [state.provider_key for state in _busy_deployments(gateway)] == ["a"]
