"""Chats as a credential: whose they are, what is passed on, and that each is judged anew."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import Forbidden, GatewayError, NotFound
from llm_gateway.flow.gateway import Gateway
from llm_gateway.surfaces.openai.on_behalf import CredentialCaller, chats_as_credentials
from tests.fakes.data_planes import data_plane
from tests.fakes.in_memory import FakeGateway, Fixed, PlainHasher, ScriptedUpstream, credential, provider
from tests.fakes.routing import snapshot_of, whole

BODY = msgspec.json.encode({"model": "m", "messages": []})


def bench_of(*credentials: Any) -> FakeGateway:
    upstream = ScriptedUpstream(a=whole)
    return FakeGateway(provider("a"), upstream=upstream, credentials=credentials)


async def chat(gateway: Gateway, credential_id: int, *headers: tuple[bytes, bytes]) -> tuple[int, Any]:
    """Return the status and the JSON of the answer."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"method": "POST", "path": "/console/x", "headers": list(headers), "client": ("192.0.2.1", 1)}
    await chats_as_credentials(data_plane(gateway))(credential_id)(scope, receive, send, "request-1")
    return sent[0]["status"], msgspec.json.decode(sent[1]["body"])


async def test_a_chat_is_the_credentials_and_says_that_it_comes_from_the_console() -> None:
    bench = bench_of(credential(name="team"), credential("other", 2, name="other"))
    status, _ = await chat(bench.gateway, 2)
    assert status == 200
    (record,) = bench.recorder.records
    assert (record.credential, record.tags) == ("other", {"source": "console"})
    assert (record.endpoint, record.client_ip) == ("/v1/chat/completions", "192.0.2.1")


async def test_nothing_that_a_browser_sends_decides_who_calls_or_reaches_a_provider() -> None:
    bench = bench_of(credential(name="team"))
    status, _ = await chat(
        bench.gateway,
        1,
        (b"cookie", b"session=opens-the-console"),
        (b"authorization", b"Bearer unknown"),
        (b"x-api-key", b"another"),
        (b"traceparent", b"00-1-1-00"),
        (b"idempotency-key", b"1"),
        (b"x-llm-gateway-tags", b"source=me"),
        (b"x-llm-gateway-agent", b"someone"),
    )
    assert status == 200
    (record,) = bench.recorder.records
    assert (record.credential, record.agent, record.tags) == ("team", None, {"source": "console"})
    (request,) = bench.upstream.requests
    passed = " ".join(f"{name}: {value}" for name, value in request.headers.items())
    for word in ("opens-the-console", "unknown", "another", "00-1-1-00", "idempotency"):
        assert word not in passed


async def test_the_headers_about_costs_and_the_cache_hold() -> None:
    bench = bench_of(credential(name="team"))
    status, answer = await chat(bench.gateway, 1, (b"x-llm-gateway-dry-run", b"true"))
    assert (status, answer["object"]) == (200, "cost_estimate")
    status, _ = await chat(bench.gateway, 1, (b"x-llm-gateway-cache", b"nonsense"))
    assert status == 400


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"is_enabled": False}, "The credential 'team' is disabled. Enable it"),
        ({"revoked_at": 1}, "The credential 'team' is revoked."),
        ({"expires_at": 1}, "The credential 'team' has expired."),
    ],
)
def test_a_credential_that_may_not_be_used_is_refused_by_name(changes: dict[str, Any], says: str) -> None:
    caller = CredentialCaller(bench_of(credential(name="team", **changes)).gateway, 1)
    with pytest.raises(Forbidden, match=says) as caught:
        caller.digest(PlainHasher())
    assert caught.value.code == "credential_not_usable"


def test_each_request_is_judged_by_the_credential_as_it_is_then() -> None:
    gateway = bench_of(credential(name="team")).gateway
    snapshots = Fixed(gateway.snapshots.current)
    caller = CredentialCaller(dataclasses.replace(gateway, snapshots=snapshots), 1)
    before = caller.digest(PlainHasher())
    snapshots.current = snapshot_of(credentials=(credential("rotated", name="team"),))
    assert caller.digest(PlainHasher()) != before
    for credentials, error in (((credential(name="team", is_enabled=False),), Forbidden), ((), NotFound)):
        snapshots.current = snapshot_of(credentials=credentials)
        with pytest.raises(error):
            caller.digest(PlainHasher())


def test_without_a_configuration_there_is_no_credential() -> None:
    gateway = dataclasses.replace(bench_of().gateway, snapshots=Fixed(None))
    with pytest.raises(GatewayError, match="There is no credential 1 any more"):
        CredentialCaller(gateway, 1).digest(PlainHasher())


async def test_the_credentials_models_hold() -> None:
    bench = bench_of(credential(name="team", allowed_models=("other",)))
    status, answer = await chat(bench.gateway, 1)
    assert (status, answer["error"]["param"]) == (403, "model")
