"""Access tokens against a token endpoint in memory: kept, renewed, forgotten, and fetched once for whoever waits."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest

from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.upstream import TransportError, Upstream
from llm_gateway.infra.upstream.oauth_tokens import OAuthTokens
from llm_gateway.providers.base import UpstreamRequest
from tests.fakes.in_memory import FakeClock, FakeReply

GRANT = ClientCredentials(token_url="https://sso.test/oauth2/token", client_id="client one", scope="a b")
SECRET = Secret("s3cret+/&=")
SOON = 5.0


class TokenEndpoint(Upstream):
    """Gives token-1, token-2, ...; `replies` are used first, and `gate` holds every answer back while it is shut."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.requests: list[UpstreamRequest] = []
        self.replies: list[FakeReply | TransportError] = []
        self.life: Any = 3600
        self.in_body_only = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, request: UpstreamRequest, timeout: float) -> FakeReply:
        assert timeout > 0
        self.requests.append(request)
        number = len(self.requests)
        await self.gate.wait()
        if self.replies:
            reply = self.replies.pop(0)
            if isinstance(reply, TransportError):
                raise reply
            return reply
        if self.in_body_only and "authorization" in request.headers:
            return answer({"error": "invalid_client", "error_description": "s3cret is wrong"}, 401)
        granted = {"access_token": f"token-{number}", "token_type": "Bearer", "expires_in": self.life}
        return answer({name: value for name, value in granted.items() if value is not None})

    async def close(self) -> None:
        pass


def answer(body: Any, status: int = 200) -> FakeReply:
    return FakeReply(body if isinstance(body, bytes) else msgspec.json.encode(body), status=status)


class TokenBench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.endpoint = TokenEndpoint(self.clock)
        self.tokens = OAuthTokens(self.endpoint, self.clock)

    async def token(
        self,
        provider: int = 1,
        grant: ClientCredentials = GRANT,
        secret: Secret = SECRET,
        timeout: float = SOON,
    ) -> str:
        return (await self.tokens.token(provider, grant, secret, timeout)).reveal()

    async def fault(self, **more: Any) -> TransportError:
        with pytest.raises(TransportError) as caught:
            await self.token(**more)
        for told in ("s3cret", "sso.test", "https:", "client one", "token-"):
            assert told not in str(caught.value)
        return caught.value

    @property
    def asked(self) -> int:
        return len(self.endpoint.requests)

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def bench() -> AsyncIterator[TokenBench]:
    made = TokenBench()
    yield made
    await made.tokens.close()


async def test_s1_14_a_token_is_asked_for_as_rfc_6749_says(bench: TokenBench) -> None:
    assert await bench.token() == "token-1"
    (sent,) = bench.endpoint.requests
    assert (sent.method, sent.url) == ("POST", GRANT.token_url)
    assert sent.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(sent.body.decode()) == {"grant_type": ["client_credentials"], "scope": ["a b"]}
    scheme, _, pair = sent.headers["authorization"].partition(" ")
    assert (scheme, base64.b64decode(pair)) == ("Basic", b"client+one:s3cret%2B%2F%26%3D")


async def test_no_scope_is_asked_for_unless_there_is_one(bench: TokenBench) -> None:
    await bench.token(grant=msgspec.structs.replace(GRANT, scope=None))
    assert parse_qs(bench.endpoint.requests[0].body.decode()) == {"grant_type": ["client_credentials"]}


async def test_a_server_that_takes_the_form_alone_is_understood_and_remembered(bench: TokenBench) -> None:
    bench.endpoint.in_body_only = True
    assert await bench.token() == "token-2"
    form = parse_qs(bench.endpoint.requests[1].body.decode())
    assert (form["client_id"], form["client_secret"]) == (["client one"], ["s3cret+/&="])
    bench.clock.now += 4000
    assert await bench.token() == "token-3", "no second try is needed any more"


async def test_a_token_is_kept_and_renewed_in_the_background_before_it_ends(bench: TokenBench) -> None:
    assert await bench.token() == "token-1"
    bench.clock.now += 3299
    assert await bench.token() == "token-1"
    assert bench.asked == 1
    bench.clock.now += 2
    bench.endpoint.gate.clear()
    # Nobody waits for the new one, and it is asked for once.
    assert [await bench.token() for _ in range(5)] == ["token-1"] * 5
    await bench.settle()
    assert bench.asked == 2
    bench.endpoint.gate.set()
    await bench.settle()
    assert await bench.token() == "token-2"
    assert bench.asked == 2


async def test_a_token_in_its_last_moments_is_not_used(bench: TokenBench) -> None:
    await bench.token()
    bench.clock.now += 3591
    assert await bench.token() == "token-2"


@pytest.mark.parametrize(
    ("life", "still_good", "over"), [(None, 239, 301), ("600", 479, 601), (60, 47, 60), (1e9, 1e8, 1.1e9)]
)
async def test_lives_of_all_lengths(bench: TokenBench, life: Any, still_good: float, over: float) -> None:
    bench.endpoint.life = life
    await bench.token()
    start = bench.clock.now
    bench.clock.now = start + still_good
    assert await bench.token() == "token-1"
    await bench.settle()
    assert bench.asked == 1
    bench.clock.now = start + over
    assert await bench.token() == "token-2"


@pytest.mark.parametrize("life", [0, -5, "0"])
async def test_a_token_without_a_life_serves_those_who_waited_for_it(bench: TokenBench, life: Any) -> None:
    bench.endpoint.life = life
    assert list(await asyncio.gather(bench.token(), bench.token())) == ["token-1", "token-1"]
    assert await bench.token() == "token-2"


async def test_a_thousand_callers_are_one_request(bench: TokenBench) -> None:
    bench.endpoint.gate.clear()
    callers = [asyncio.ensure_future(bench.token()) for _ in range(1000)]
    await bench.settle()
    assert bench.asked == 1
    bench.endpoint.gate.set()
    assert set(await asyncio.gather(*callers)) == {"token-1"}
    assert bench.asked == 1


async def test_who_stops_waiting_ends_nobody_elses_flight(bench: TokenBench) -> None:
    bench.endpoint.gate.clear()
    first, second = (asyncio.ensure_future(bench.token()) for _ in range(2))
    await bench.settle()
    first.cancel()
    late = await bench.fault(timeout=0.01)
    assert late.kind == "timeout"
    bench.endpoint.gate.set()
    assert await second == "token-1"
    assert first.cancelled()
    assert bench.asked == 1


async def test_a_failure_is_told_to_all_who_wait_and_again_for_a_moment(bench: TokenBench) -> None:
    bench.endpoint.replies = [TransportError("connect", "no connection")]
    results = await asyncio.gather(*(bench.token() for _ in range(10)), return_exceptions=True)
    faults = [result for result in results if isinstance(result, TransportError)]
    assert len(faults) == len({id(fault) for fault in faults}) == 10
    assert {fault.kind for fault in faults} == {"connect"}
    assert str(await bench.fault()) == "the token endpoint: no connection"
    assert bench.asked == 1, "an outage is not met with a storm"
    bench.clock.now += 1.1
    assert await bench.token() == "token-2"


async def test_a_failed_renewal_leaves_the_old_token_in_use(bench: TokenBench) -> None:
    await bench.token()
    bench.clock.now += 3400
    bench.endpoint.replies = [answer(b"", 503)] * 2
    for _ in range(10):
        assert await bench.token() == "token-1"
        await bench.settle()
    assert bench.asked == 2, "one renewal a second at most"
    bench.clock.now += 1.1
    assert await bench.token() == "token-1"
    await bench.settle()
    assert bench.asked == 3
    bench.clock.now += 1.1
    await bench.token()
    await bench.settle()
    assert await bench.token() == "token-4"


async def test_a_changed_row_is_never_served_an_old_token(bench: TokenBench) -> None:
    assert await bench.token() == "token-1"
    assert await bench.token(secret=Secret("another")) == "token-2"
    assert await bench.token(grant=msgspec.structs.replace(GRANT, scope="c")) == "token-3"
    assert await bench.token(provider=2) == "token-4"
    assert await bench.token(provider=2) == "token-4"
    assert len(bench.tokens._accounts) == 2, "what is over is not kept"


async def test_a_row_changed_during_the_flight_is_not_served_what_the_old_one_gets(bench: TokenBench) -> None:
    bench.endpoint.gate.clear()
    old = asyncio.ensure_future(bench.token())
    await bench.settle()
    new = asyncio.ensure_future(bench.token(secret=Secret("another")))
    await bench.settle()
    bench.endpoint.gate.set()
    assert list(await asyncio.gather(old, new)) == ["token-1", "token-2"]
    assert await bench.token(secret=Secret("another")) == "token-2"


async def test_a_refused_token_is_forgotten_once(bench: TokenBench) -> None:
    assert await bench.token() == "token-1"
    bench.tokens.forget(2, Secret("token-1"))
    assert await bench.token() == "token-1"
    bench.tokens.forget(1, Secret("token-1"))
    assert await bench.token() == "token-2"
    # Requests that were sent with the old one fail later: the new one stays.
    bench.tokens.forget(1, Secret("token-1"))
    assert await bench.token() == "token-2"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (
            answer({"error": "invalid_scope", "error_description": "s3cret"}, 400),
            "status 400 and invalid_scope",
        ),
        (answer({"error": "sso.test says no"}, 403), "status 403:"),
        (answer(b"<html>s3cret</html>", 500), "status 500:"),
        (answer(b"", 302), "status 302:"),
        (answer(b"<html>s3cret</html>"), "contains no access token"),
        (answer(b"[1]"), "contains no access token"),
        (answer({"token_type": "Bearer"}), "contains no access token"),
        (answer({"access_token": "x", "expires_in": "soon"}), "contains no access token"),
        (answer({"access_token": ""}), "cannot be sent in a header"),
        (answer({"access_token": "a\r\nx-evil: 1"}), "cannot be sent in a header"),
        (answer({"access_token": "é"}), "cannot be sent in a header"),
        (answer({"access_token": "x", "token_type": "mac"}), "not a bearer token"),
        (
            FakeReply(TransportError("cut", "the connection ended")),
            "the token endpoint: the connection ended",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_answers_that_are_no_token(bench: TokenBench, reply: FakeReply, said: str) -> None:
    bench.endpoint.replies = [reply]
    assert said in str(await bench.fault())


async def test_a_wrong_secret_is_a_refusal_and_says_what_to_check(bench: TokenBench) -> None:
    refusal = {"error": "invalid_client", "error_description": "s3cret"}
    bench.endpoint.replies = [answer(refusal, 401), answer(refusal, 401)]
    fault = await bench.fault()
    assert fault.kind == "protocol"
    assert "invalid_client" in str(fault)
    assert "client_id" in str(fault)


async def test_closing_ends_what_is_on_its_way(bench: TokenBench) -> None:
    bench.endpoint.gate.clear()
    waiting = asyncio.ensure_future(bench.token())
    await bench.settle()
    await bench.tokens.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_all_secrets_of_a_provider_are_known_also_former_ones(bench: TokenBench) -> None:
    bench.endpoint.life = 10
    for _ in range(3):
        await bench.token()
        bench.clock.now += 20
    await bench.token(secret=Secret("rotated"))
    await bench.token(provider=2, secret=Secret("another's"))
    shown = {secret.reveal() for secret in bench.tokens.secrets(1)}
    assert shown == {"s3cret+/&=", "token-1", "token-2", "token-3", "rotated", "token-4"}
    assert {secret.reveal() for secret in bench.tokens.secrets(2)} == {"another's", "token-5"}
    assert bench.tokens.secrets(3) == ()


async def test_only_so_many_former_secrets_are_remembered(bench: TokenBench) -> None:
    bench.endpoint.life = 10
    for _ in range(100):
        await bench.token()
        bench.clock.now += 20
    known = [secret.reveal() for secret in bench.tokens.secrets(1)]
    assert known[0] == "s3cret+/&="
    assert known[-1] == "token-100"
    assert len(known) <= 32
