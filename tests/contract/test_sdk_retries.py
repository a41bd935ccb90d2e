"""What OpenAI's and Anthropic's SDKs do with the gateway's refusals: stop, or wait as long as they are told."""

from __future__ import annotations

import time
from collections.abc import Callable

import anthropic
import httpx2
import openai
import pytest

from llm_gateway.core.errors import GatewayError, QuotaExceeded, RateLimited, UpstreamRefused
from llm_gateway.http.errors import render
from llm_gateway.surfaces.openai.errors import OPENAI_ERRORS

_RETRIES = 2


class Client:
    """Sends one request with an SDK to a gateway that answers `error`, and notes how long the SDK waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: GatewayError) -> None:
        self.requests = 0
        self.waits: list[float] = []
        self.status, headers, self.body = render(OPENAI_ERRORS, error, "an-id")
        self.headers = [(name.decode(), value.decode()) for name, value in headers]
        monkeypatch.setattr(time, "sleep", self.waits.append)

    def transport(self) -> httpx2.MockTransport:
        def answer(request: httpx2.Request) -> httpx2.Response:
            del request
            self.requests += 1
            return httpx2.Response(self.status, headers=self.headers, content=self.body)

        return httpx2.MockTransport(answer)


def ask_openai(client: Client) -> None:
    http = httpx2.Client(transport=client.transport())
    sdk = openai.OpenAI(base_url="http://gateway/v1", api_key="key", max_retries=_RETRIES, http_client=http)
    with sdk, pytest.raises(openai.RateLimitError):
        sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])


def ask_anthropic(client: Client) -> None:
    http = httpx2.Client(transport=client.transport())
    sdk = anthropic.Anthropic(
        base_url="http://gateway", api_key="key", max_retries=_RETRIES, http_client=http
    )
    with sdk, pytest.raises(anthropic.RateLimitError):
        sdk.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "hi"}])


SDKS = pytest.mark.parametrize("ask", [ask_openai, ask_anthropic])
QUOTA = QuotaExceeded("Spent.", scope="tenant", limit="1.00", used="1.00", held="0", reset_at=10**15)
BLOCKED = RateLimited("Blocked.")
BLOCKED.waiting_helps = False


@SDKS
@pytest.mark.parametrize(
    "error",
    [QUOTA, BLOCKED, *(UpstreamRefused("Wait.", status=429, retry_after=s) for s in (61, 90, 1_728_000))],
)
def test_an_sdk_stops_where_waiting_does_not_help(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[Client], None], error: GatewayError
) -> None:
    client = Client(monkeypatch, error)
    assert ("x-should-retry", "false") in client.headers
    ask(client)
    assert (client.requests, client.waits) == (1, [])


@SDKS
@pytest.mark.parametrize(
    "error",
    [
        *(RateLimited("Slow.", retry_after=seconds) for seconds in (1, 30, 59.2)),
        *(UpstreamRefused("Wait.", status=429, retry_after=seconds) for seconds in (1, 30, 60)),
    ],
)
def test_an_sdk_waits_as_long_as_it_is_told(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[Client], None], error: GatewayError
) -> None:
    client = Client(monkeypatch, error)
    [told] = [float(value) for name, value in client.headers if name == "retry-after"]
    assert 1 <= told <= 60
    ask(client)
    assert (client.requests, client.waits) == (1 + _RETRIES, [told] * _RETRIES)


def test_a_quota_has_no_time_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "retry-after" not in dict(Client(monkeypatch, QUOTA).headers)


def test_an_upstreams_long_wait_is_still_told(monkeypatch: pytest.MonkeyPatch) -> None:
    error = UpstreamRefused("Wait.", status=429, retry_after=90)
    assert dict(Client(monkeypatch, error).headers)["retry-after"] == "90"
