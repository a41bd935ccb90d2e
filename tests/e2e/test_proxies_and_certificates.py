"""HTTP_PROXY, NO_PROXY and SSL_CERT_FILE, as an operator sets them for the whole gateway."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Launch
from tests.e2e.gateway_process import GatewayProcess
from tests.fakes.certificates import Identity
from tests.fakes.origin import OK, answers, origin_of
from tests.services import free_port

CHAT = {
    "id": "x",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}
BODY = json.dumps(CHAT).encode()
REPLY = OK + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY


async def _ask(gateway: GatewayProcess, key: str) -> httpx.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    return await asyncio.to_thread(gateway.post, "/v1/chat/completions", key, json=body)


@pytest.mark.parametrize("transport", ["pool", "aiohttp"])
async def test_requests_go_through_the_proxy_but_for_no_proxy(launch: Launch, transport: str) -> None:
    async with origin_of(answers(REPLY)) as proxy, origin_of(answers(REPLY)) as near:
        gateway = launch(
            UPSTREAM_TRANSPORT=transport, HTTP_PROXY=proxy.base, NO_PROXY="127.0.0.0/8", MAX_RETRIES=0
        )
        gateway.create_provider("far", "http://provider.test/v1", model_mapping={"m": "m"})
        key = gateway.create_credential("proxied")
        assert (await _ask(gateway, key)).status_code == 200
        assert (len(proxy.visits), len(near.visits)) == (1, 0)
        gateway.admin.patch("/providers/far", json={"api_base": near.url("/v1")})
        assert (await _ask(gateway, key)).status_code == 200
        assert (len(proxy.visits), len(near.visits)) == (1, 1)


@pytest.mark.parametrize("transport", ["pool", "aiohttp"])
async def test_a_dead_proxy_is_named_and_opens_no_breaker(launch: Launch, transport: str) -> None:
    dead = f"http://me:hush@127.0.0.1:{free_port()}"
    gateway = launch(UPSTREAM_TRANSPORT=transport, HTTP_PROXY=dead, HTTPS_PROXY=dead, MAX_RETRIES=0)
    gateway.create_provider("far", "https://provider.test/v1", model_mapping={"m": "m"})
    key = gateway.create_credential("proxied")
    for _ in range(12):
        response = await _ask(gateway, key)
        assert (response.status_code, response.json()["error"]["code"]) == (502, "proxy_failed")
        assert "provider" not in response.json()["error"]["message"]
    assert gateway.metrics("llm_proxy_open_breakers") == 0
    tried = await asyncio.to_thread(gateway.admin.post, "/providers/far/test", json={"model": "m"})
    assert "proxy" in tried.text
    assert "HTTP_PROXY" in tried.text
    assert "the proxy's host refused the connection" in gateway.log()
    assert "hush" not in gateway.log()


@pytest.mark.parametrize("transport", ["pool", "aiohttp"])
async def test_a_private_authority_is_trusted_by_ssl_cert_file(
    launch: Launch, tmp_path: Path, transport: str
) -> None:
    identity = Identity(tmp_path, "localhost", "127.0.0.1")
    async with origin_of(answers(REPLY), tls=identity.server()) as origin:
        for trusted, status in ((True, 200), (False, 502)):
            environ = {"SSL_CERT_FILE": str(identity.file)} if trusted else {}
            gateway = launch(UPSTREAM_TRANSPORT=transport, MAX_RETRIES=0, **environ)
            gateway.create_provider("own", origin.url("/v1"), model_mapping={"m": "m"})
            key = gateway.create_credential("trusting")
            assert (await _ask(gateway, key)).status_code == status
            gateway.stop()
