"""Access tokens over real connections, on every transport and both event loops."""

from __future__ import annotations

import asyncio

import pytest

from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.upstream import TransportError, Upstream
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.upstream.oauth_tokens import OAuthTokens
from tests.fakes.origin import OK, Origin, Script, Visit, answers, origin_of
from tests.services import free_port

GRANTED = b'{"access_token":"token-1","token_type":"Bearer","expires_in":3600}'
ANSWER = OK + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(GRANTED) + GRANTED
SECRET = Secret("s3cret")
SOON = 10.0


def grant(origin: Origin) -> ClientCredentials:
    return ClientCredentials(token_url=origin.url("/oauth2/token"), client_id="c", scope="all")


def held_back(until: asyncio.Event, came: asyncio.Event) -> Script:
    async def script(visit: Visit) -> None:
        await visit.request()
        came.set()
        await until.wait()
        await visit.send(ANSWER)

    return script


async def test_a_thousand_callers_of_a_slow_endpoint_are_one_request(upstream: Upstream) -> None:
    open_now, came = asyncio.Event(), asyncio.Event()
    async with origin_of(held_back(open_now, came)) as origin:
        tokens = OAuthTokens(upstream, SystemClock())
        callers = [asyncio.ensure_future(tokens.token(1, grant(origin), SECRET, SOON)) for _ in range(1000)]
        await came.wait()
        open_now.set()
        assert {token.reveal() for token in await asyncio.gather(*callers)} == {"token-1"}
        (visit,) = origin.visits
        (asked,) = visit.asked
        assert asked.line == "POST /oauth2/token HTTP/1.1"
        assert asked.body == b"grant_type=client_credentials&scope=all"
        assert asked.header("content-type") == "application/x-www-form-urlencoded"
        await tokens.close()


async def test_an_endpoint_that_is_gone_is_told_without_its_address(upstream: Upstream) -> None:
    tokens = OAuthTokens(upstream, SystemClock())
    nowhere = ClientCredentials(token_url=f"http://127.0.0.1:{free_port()}/token", client_id="c")
    with pytest.raises(TransportError) as caught:
        await tokens.token(1, nowhere, SECRET, SOON)
    assert caught.value.kind == "connect"
    for told in ("127.0.0.1", "http", "s3cret", "/token"):
        assert told not in str(caught.value)


async def test_a_refusal_is_told_without_the_endpoints_words(upstream: Upstream) -> None:
    body = b'{"error":"invalid_client","error_description":"s3cret is wrong"}'
    head = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with origin_of(answers(head + body)) as origin:
        tokens = OAuthTokens(upstream, SystemClock())
        with pytest.raises(TransportError, match="status 401 and invalid_client") as caught:
            await tokens.token(1, grant(origin), SECRET, SOON)
        assert "s3cret" not in str(caught.value)
        # By HTTP Basic, then in the form.
        asked = [request for visit in origin.visits for request in visit.asked]
        assert [request.header("authorization") is None for request in asked] == [False, True]
