"""What is done for a request after a failure: another deployment, another model, a retry, or the error."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.config.models import Model, RetryRules, Timeouts
from llm_gateway.core.config.providers import ClientCredentials, Provider
from llm_gateway.core.errors import BadRequest, GatewayError, ModelNotFound, UpstreamRefused
from llm_gateway.core.ledger.records import AttemptEnded
from llm_gateway.flow.gateway import Options
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import StreamReply, WholeReply
from llm_gateway.flow.routing.selector import Selector
from llm_gateway.providers.base import UpstreamRequest
from llm_gateway.providers.openai.adapter import OpenAIAdapter
from llm_gateway.providers.registry import ADAPTERS, KINDS
from tests.fakes.in_memory import Answer, FakeGateway, FakeReply, ScriptedUpstream, credential, provider
from tests.fakes.routing import DONE, HELLO, STOP, model, refusing, whole

CUT = TransportError("cut", "cut")


def reader(**fields: Any) -> Any:
    body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "a"}], **fields})

    async def read_body() -> bytes:
        await asyncio.sleep(0)
        return body

    return read_body


async def ask(bench: FakeGateway, **fields: Any) -> WholeReply:
    reply = await handle(bench.gateway, bench.call(), reader(**fields))
    assert isinstance(reply, WholeReply)
    return reply


async def told(bench: FakeGateway, **fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await ask(bench, **fields)
    return caught.value


def header(reply: WholeReply | StreamReply | GatewayError, name: str) -> str | None:
    found = [value.decode() for key, value in reply.headers if key.decode() == name]
    assert len(found) <= 1
    return found[0] if found else None


def bench_of(
    *rules: Model, draw: float = 0.5, providers: tuple[Provider, ...] | None = None, **answers: Any
) -> FakeGateway:
    """Return a bench with a provider for each answer, all of which serve `m`."""
    mapping = {"model_mapping": {"m": "up"}}
    made = providers or tuple(provider(key, number, **mapping) for number, key in enumerate(answers, 1))
    return FakeGateway(
        *made, upstream=ScriptedUpstream(**answers), models=rules, selector=Selector(draw=lambda: draw)
    )


def all_is_given_back(bench: FakeGateway) -> None:
    for state in bench.gateway.selector._deployment_states.values():
        assert state.in_flight == 0
    for route_state in bench.gateway.selector._explicit.values():
        assert route_state.budget.in_use == 0


async def test_s3_8_and_s3_12_the_only_deployment_is_asked_again_later_and_later() -> None:
    bench = bench_of(a=[refusing(500), CUT, TransportError("timeout", "late"), whole])
    reply = await ask(bench)
    assert bench.slept == [1.0, 2.0, 4.0]
    assert header(reply, "x-llm-gateway-attempts") == "4"
    assert [failed.next_step for failed in bench.recorder.failed] == ["retry"] * 3
    assert bench.recorder.record.attempts == len(bench.recorder.begun) == 4
    assert [begun.attempts for begun in bench.recorder.begun] == [1, 2, 3, 4]
    all_is_given_back(bench)


async def test_c29_max_retries_bounds_further_tries_and_the_last_error_is_told() -> None:
    bench = bench_of(model(retry=RetryRules(max_retries=2, initial_backoff_ms=10)), a=refusing(503))
    error = await told(bench)
    assert (error.status, header(error, "x-llm-gateway-attempts")) == (503, "3")
    assert bench.slept == [0.01, 0.02]
    assert [failed.next_step for failed in bench.recorder.failed] == ["retry", "retry", "give_up"]
    all_is_given_back(bench)


async def test_c29_every_deployment_is_visited_before_anyone_is_asked_again() -> None:
    bench = bench_of(a=[refusing(500), whole], b=refusing(500), c=refusing(500))
    await ask(bench)
    assert bench.upstream.hosts == ["a", "b", "c", "a"]
    assert bench.slept == [1.0]
    assert [failed.next_step for failed in bench.recorder.failed] == ["failover", "failover", "retry"]


async def test_c32_who_refuses_the_operators_key_is_not_asked_again() -> None:
    bench = bench_of(a=refusing(401), b=[refusing(500), whole])
    await ask(bench)
    assert bench.upstream.hosts == ["a", "b", "b"]
    alone = bench_of(a=refusing(401))
    assert (await told(alone)).status == 502
    assert len(alone.upstream.requests) == 1


async def test_s3_9_a_retry_after_is_waited_for_when_it_is_short() -> None:
    bench = bench_of(a=[refusing(429, retry_after="7"), whole])
    await ask(bench)
    assert bench.slept == [7.0]


async def test_s3_9_a_429_with_a_long_retry_after_goes_to_the_client_at_once() -> None:
    bench = bench_of(a=refusing(429, retry_after="31"))
    error = await told(bench)
    assert (error.status, error.retry_after) == (429, 31.0)
    assert bench.slept == []
    assert len(bench.upstream.requests) == 1


async def test_who_asks_for_the_shortest_wait_is_asked_again_first() -> None:
    bench = bench_of(a=[refusing(429, retry_after="9"), whole], b=[refusing(429, retry_after="3"), whole])
    await ask(bench)
    assert bench.upstream.hosts == ["a", "b", "b"]
    assert bench.slept == [3.0]


async def test_a_400_is_never_sent_twice() -> None:
    bench = bench_of(a=refusing(400), b=whole)
    assert (await told(bench)).status == 400
    assert len(bench.upstream.requests) == 1
    assert bench.recorder.failed == []
    all_is_given_back(bench)


async def test_a_cut_request_is_sent_to_another_unless_the_route_forbids_it() -> None:
    bench = bench_of(a=CUT, b=whole)
    await ask(bench)
    assert bench.upstream.hosts == ["a", "b"]
    strict = bench_of(model(retry=RetryRules(retry_cut=False)), a=CUT, b=whole)
    assert (await told(strict)).code == "upstream_cut"
    assert strict.upstream.hosts == ["a"]
    assert [failed.next_step for failed in strict.recorder.failed] == ["give_up"]


async def test_s3_10_fallback_models_come_after_the_route_and_before_waiting() -> None:
    providers = (
        provider("a", 1, model_mapping={"m": "up"}),
        provider("b", 2, model_mapping={"m": "up"}),
        provider("c", 3, model_mapping={"n": "other"}),
    )
    bench = bench_of(
        model(fallbacks=("gone", "n")), providers=providers, a=refusing(500), b=refusing(500), c=whole
    )
    reply = await ask(bench)
    assert bench.upstream.hosts == ["a", "b", "c"]
    assert bench.slept == []
    assert msgspec.json.decode(bench.upstream.requests[2].body)["model"] == "other"
    assert header(reply, "x-llm-gateway-model") == "n"
    assert bench.recorder.record.model == "m"
    assert [failed.next_step for failed in bench.recorder.failed] == ["failover", "fallback"]


async def test_fallback_models_are_only_those_that_the_credential_may_use() -> None:
    providers = (provider("a", 1, model_mapping={"m": "up"}), provider("b", 2, model_mapping={"n": "up"}))
    rules = model(fallbacks=("n",), retry=RetryRules(max_retries=0))
    upstream = ScriptedUpstream(a=refusing(500), b=whole)
    bench = FakeGateway(
        *providers, upstream=upstream, models=(rules,), credentials=(credential(allowed_models=("m",)),)
    )
    assert (await told(bench)).status == 502
    assert upstream.hosts == ["a"]


async def test_a_model_without_providers_lives_on_in_its_fallbacks() -> None:
    drained = provider("a", 1, model_mapping={"m": "up"}, weight=0)
    for providers in ((drained,), ()):
        bench = bench_of(
            model(fallbacks=("n",)),
            providers=(*providers, provider("b", 2, model_mapping={"n": "up"})),
            b=whole,
        )
        assert header(await ask(bench), "x-llm-gateway-model") == "n"
    with pytest.raises(ModelNotFound):
        await ask(bench_of(model(fallbacks=("gone",)), providers=(drained,), a=whole))


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(
    ("code", "answers"), [("context_length_exceeded", "c"), ("content_policy_violation", "d")]
)
async def test_a_refusal_that_another_model_makes_good_goes_there_directly(
    code: str, answers: str, status: int
) -> None:
    """In a status, and in band at the start of a stream."""
    providers = (
        provider("a", 1, model_mapping={"m": "up"}),
        provider("b", 2, model_mapping={"m": "up"}),
        provider("c", 3, model_mapping={"big": "up"}),
        provider("d", 4, model_mapping={"mild": "up"}),
    )
    rules = model(fallbacks=("mild",), context_fallbacks=("big",), policy_fallbacks=("mild",))
    refusal = b'{"error":{"message":"no","code":"%s"}}' % code.encode()
    if status == 200:
        bad: Answer = FakeReply(b"data: " + refusal + b"\n\n", content_type="text/event-stream")
    else:
        bad = FakeReply(refusal, status=400)
    good = lambda _: FakeReply(HELLO, STOP, DONE, content_type="text/event-stream")  # noqa: E731
    bench = bench_of(rules, providers=providers, a=bad, b=bad, c=good, d=good)
    reply = await handle(bench.gateway, bench.call(), reader(stream=True))
    assert isinstance(reply, StreamReply)
    reply.close()
    assert bench.upstream.hosts == ["a", answers]
    assert header(reply, "x-llm-gateway-attempts") == "2"
    # The provider did its work.
    assert bench.recorder.failed == []
    assert bench.gateway.selector.open_breakers() == {}


async def test_a_refusal_without_a_model_that_makes_it_good_is_told() -> None:
    bench = bench_of(model(fallbacks=("n",)), a=refusing(400, code="context_length_exceeded"), b=whole)
    assert isinstance(await told(bench), UpstreamRefused)
    assert len(bench.upstream.requests) == 1


class Wordless(OpenAIAdapter):
    """A kind that has no words for anything."""

    def encode(self, *_: Any) -> UpstreamRequest:
        raise BadRequest("This provider cannot carry 'n'.", param="n", code="unsupported_by_provider")


def with_wordless(bench: FakeGateway, *keys: str) -> None:
    """Make providers' deployments speak a kind that cannot carry the request."""
    adapters = dict(ADAPTERS)
    plain = adapters["openai"]

    class Choosy(OpenAIAdapter):
        def encode(self, request: Any, deployment: Deployment, extra: Any) -> UpstreamRequest:
            chosen = Wordless(KINDS["openai"]) if deployment.provider_key in keys else plain
            made: UpstreamRequest = chosen.encode(request, deployment, extra)
            made.ignored_fields = ("logit_bias", "n")
            return made

    adapters["openai"] = Choosy(KINDS["openai"])
    object.__setattr__(bench.gateway, "adapters", adapters)


async def test_a_deployment_that_cannot_carry_a_request_is_skipped_and_is_no_attempt() -> None:
    bench = bench_of(a=whole, b=whole, c=whole)
    with_wordless(bench, "a", "b")
    reply = await ask(bench)
    assert bench.upstream.hosts == ["c"]
    assert header(reply, "x-llm-gateway-attempts") == "1"
    assert header(reply, "x-llm-gateway-ignored") == "logit_bias, n"
    assert (bench.recorder.record.attempts, bench.recorder.failed) == (1, [])
    all_is_given_back(bench)


async def test_what_nobody_can_carry_is_told() -> None:
    bench = bench_of(a=whole, b=whole)
    with_wordless(bench, "a", "b")
    error = await told(bench)
    assert (error.status, error.code, error.param) == (400, "unsupported_by_provider", "n")
    assert bench.recorder.record.outcome == "rejected"
    assert bench.recorder.begun == []


async def test_one_that_cannot_carry_it_in_between_changes_nothing_else() -> None:
    bench = bench_of(a=[refusing(500), whole], b=whole)
    with_wordless(bench, "b")
    await ask(bench)
    assert bench.upstream.hosts == ["a", "a"]
    assert [failed.next_step for failed in bench.recorder.failed] == ["failover"]
    all_is_given_back(bench)


def with_tokens(**answers: Any) -> FakeGateway:
    grant = ClientCredentials(token_url="https://id.test/token", client_id="me")
    return bench_of(providers=(provider("a", 1, model_mapping={"m": "up"}, oauth2=grant),), **answers)


async def test_oauth2_a_token_takes_the_secrets_place_and_a_refused_one_is_forgotten() -> None:
    bench = with_tokens(a=[refusing(401), whole])
    await ask(bench)
    shown = [request.headers["authorization"] for request in bench.upstream.requests]
    assert shown == ["Bearer token-0-of-1", "Bearer token-1-of-1"]
    assert [token.reveal() for token in bench.tokens.forgotten] == ["token-0-of-1"]


async def test_oauth2_without_a_token_the_attempt_has_failed() -> None:
    bench = with_tokens(a=whole)
    bench.tokens.fault = TransportError("timeout", "no token in time")
    assert (await told(bench)).status == 504
    assert bench.upstream.requests == []
    assert bench.recorder.record.attempts == 4
    assert {failed.detail for failed in bench.recorder.failed} == {"no token in time"}
    all_is_given_back(bench)


async def test_timeouts_are_the_routes_own() -> None:
    seen: list[float] = []

    class Timed(ScriptedUpstream):
        async def send(self, request: UpstreamRequest, timeout: float) -> FakeReply:
            seen.append(timeout)
            return await super().send(request, timeout)

    rules = model(timeouts=Timeouts(connect=0.5, first_content=3, idle=2, total=9))
    mapping = {"model_mapping": {"m": "up"}}
    bench = FakeGateway(provider("a", 1, **mapping), upstream=Timed(a=whole), models=(rules,))
    await ask(bench)
    assert seen == [3.0]
    assert bench.upstream.requests[0].connect_timeout == 0.5
    silent = FakeReply(HELLO, 2.5, HELLO, content_type="text/event-stream", clock=bench.clock)
    bench.upstream.answers["a"] = [silent]
    reply = await handle(bench.gateway, bench.call(), reader(stream=True))
    assert isinstance(reply, StreamReply)
    await reply.next()
    data, last = await reply.next()
    assert last
    assert b"upstream_timeout" in data
    reply.close()


async def test_total_bounds_a_unary_attempt_and_no_stream() -> None:
    rules = model(timeouts=Timeouts(total=5), retry=RetryRules(max_retries=0))
    bench = bench_of(rules, a=whole)
    bench.upstream.answers["a"] = [FakeReply(b"{", 6.0, b"}", clock=bench.clock)]
    assert (await told(bench)).status == 504
    slow = FakeReply(HELLO, 60.0, STOP, DONE, content_type="text/event-stream", clock=bench.clock)
    bench.upstream.answers["a"] = [slow]
    reply = await handle(bench.gateway, bench.call(), reader(stream=True))
    assert isinstance(reply, StreamReply)
    while not (await reply.next())[1]:
        pass
    reply.close()
    assert [record.outcome for record in bench.recorder.records] == ["error", "ok"]


async def test_a_clients_whole_wait_is_bounded() -> None:
    """Nothing begins after twice the time that one attempt may take."""
    bench = bench_of(model(retry=RetryRules(max_retries=100)), a=whole)

    def late(_: object) -> FakeReply:
        bench.clock.now += 10.0
        raise TransportError("timeout", "late")

    bench.upstream.answers["a"] = [late]
    object.__setattr__(bench.gateway, "options", Options(llm_timeout=10.0))
    started = bench.clock.now
    assert (await told(bench)).status == 504
    assert bench.clock.now - started <= 30.0
    all_is_given_back(bench)


async def test_a_client_that_leaves_ends_the_wait_for_a_retry() -> None:
    bench = bench_of(a=refusing(500))
    waiting = asyncio.Event()

    async def for_ever(_: float) -> None:
        waiting.set()
        await asyncio.get_running_loop().create_future()

    object.__setattr__(bench.gateway, "sleep", for_ever)
    task = asyncio.ensure_future(ask(bench))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (bench.recorder.record.outcome, bench.recorder.record.attempts) == ("aborted", 1)
    all_is_given_back(bench)


async def test_hang_ups_are_never_the_providers_failure() -> None:
    bench = bench_of(a=lambda _: FakeReply(HELLO, STOP, DONE, content_type="text/event-stream"))
    for _ in range(50):
        reply = await handle(bench.gateway, bench.call(), reader(stream=True))
        assert isinstance(reply, StreamReply)
        await reply.next()
        reply.close()
    await bench.gateway.background.drain(1)
    assert bench.gateway.selector.open_breakers() == {}
    all_is_given_back(bench)


async def test_cut_streams_open_the_breaker_and_whole_ones_do_not() -> None:
    bench = bench_of(a=lambda _: FakeReply(HELLO, CUT, content_type="text/event-stream"))
    for _ in range(5):
        reply = await handle(bench.gateway, bench.call(), reader(stream=True))
        assert isinstance(reply, StreamReply)
        assert bench.gateway.selector.open_breakers() == {}
        while not (await reply.next())[1]:
            pass
        reply.close()
    assert list(bench.gateway.selector.open_breakers()) == ["a"]
    all_is_given_back(bench)


async def test_an_open_breaker_sends_requests_to_the_fallback_model_directly() -> None:
    providers = (provider("a", 1, model_mapping={"m": "up"}), provider("b", 2, model_mapping={"n": "up"}))
    bench = bench_of(model(fallbacks=("n",)), providers=providers, a=refusing(500), b=whole)
    for _ in range(20):
        await ask(bench)
    assert bench.upstream.hosts.count("a") == 5
    assert bench.recorder.records[-1].attempts == 1


async def test_a_shut_route_whose_fallbacks_are_shut_too_is_tried_rather_than_nobody() -> None:
    providers = (provider("a", 1, model_mapping={"m": "up"}), provider("b", 2, model_mapping={"n": "up"}))
    rules = model(fallbacks=("n",), retry=RetryRules(max_retries=0))
    bench = bench_of(rules, providers=providers, a=refusing(500), b=refusing(500))
    for _ in range(8):
        await told(bench)
    bench.upstream.answers["b"] = [whole]
    assert header(await ask(bench), "x-llm-gateway-attempts") == "2"


async def test_spent_budget_ends_what_is_beyond_the_free_failover() -> None:
    bench = bench_of(model(retry=RetryRules(initial_backoff_ms=0)), a=refusing(500))
    for _ in range(40):
        await told(bench)
    assert bench.recorder.failed[-1].next_step == "over_budget"
    # No time has passed: a tenth of the requests, and what was saved.
    assert len(bench.upstream.requests) == 40 + 10 + 4 - 1


@pytest.mark.parametrize("wait", ["inf", "-inf", "nan", "1e999", "soon"])
async def test_a_retry_after_that_is_no_time_is_none(wait: str) -> None:
    error = await told(bench_of(model(retry=RetryRules(max_retries=0)), a=refusing(429, retry_after=wait)))
    assert (error.status, error.retry_after) == (429, None)


async def test_a_retry_after_is_believed_up_to_a_day() -> None:
    error = await told(bench_of(a=refusing(429, retry_after="99999999999999999999")))
    assert (error.status, error.retry_after) == (429, 86_400.0)


async def test_a_retry_after_in_the_body_is_heard() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "41s"}]
    body = {"error": {"code": 429, "message": "Quota.", "status": "RESOURCE_EXHAUSTED", "details": details}}
    spent = FakeReply(msgspec.json.encode(body), status=429)
    error = await told(
        bench_of(providers=(provider("a", 1, provider_type="gemini", model_mapping={"m": "up"}),), a=spent)
    )
    assert (error.status, error.retry_after) == (429, 41.0)


@pytest.mark.parametrize("status", [401, 402])
async def test_s4_62_c32_the_operators_key_and_bill_are_another_deployments_turn(status: int) -> None:
    bench = bench_of(a=refusing(status), b=whole)
    await ask(bench)
    assert [(failed.status, failed.next_step) for failed in bench.recorder.failed] == [(status, "failover")]


async def test_c32_a_refused_key_under_another_status_is_not_the_clients() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    body = {"error": {"code": 400, "message": "Bad.", "status": "INVALID_ARGUMENT", "details": details}}

    def refused() -> FakeReply:
        return FakeReply(msgspec.json.encode(body), status=400)

    google = provider("a", 1, provider_type="gemini", model_mapping={"m": "up"})
    error = await told(bench_of(model(retry=RetryRules(max_retries=0)), providers=(google,), a=refused()))
    assert (error.status, error.code) == (502, "upstream_key_refused")
    bench = bench_of(providers=(google, provider("b", 2, model_mapping={"m": "up"})), a=refused(), b=whole)
    await ask(bench)
    assert [(failed.status, failed.next_step) for failed in bench.recorder.failed] == [(401, "failover")]


async def test_an_overloaded_provider_is_a_503() -> None:
    error = await told(bench_of(model(retry=RetryRules(max_retries=0)), a=refusing(529, retry_after="3")))
    assert (error.status, error.code, error.retry_after) == (503, "upstream_unavailable", 3.0)


async def test_the_list_of_what_was_left_out_fits_a_head() -> None:
    messages = [{"role": "user", "content": "a", f"f{number}": 1} for number in range(3000)]
    claude = provider("a", 1, provider_type="anthropic", model_mapping={"m": "up"})
    said: dict[str, Any] = {
        "id": "x",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "Hi"}],
    }
    said |= {"model": "up", "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}
    reply = await ask(
        bench_of(providers=(claude,), a=FakeReply(msgspec.json.encode(said))), messages=messages
    )
    named = header(reply, "x-llm-gateway-ignored") or ""
    assert named.startswith("messages[0].f0, messages[1].f1, ")
    assert named.endswith(", ...")
    assert len(named) < 1100


async def test_each_failed_attempt_is_a_fact_in_the_journal() -> None:
    bench = bench_of(a=[lambda _: FakeReply(b"{}", status=503)], b=[CUT], c=[whole])
    reply = await ask(bench)
    assert header(reply, "x-llm-gateway-attempts") == "3"
    assert bench.recorder.failed == bench.recorder.ended_attempts
    first, second = bench.recorder.ended_attempts
    assert msgspec.structs.asdict(first) == {
        **{field.name: field.default for field in msgspec.structs.fields(AttemptEnded) if not field.required},
        "request_id": "0190-test",
        "attempt": 1,
        "started_at": bench.recorder.begun[0].created_at,
        "provider": "a",
        "model": "m",
        "upstream_model": "up",
        "outcome": "error",
        "status": 503,
        "reason": "status",
        "detail": "status 503",
        "next_step": "failover",
        "latency_ms": 0.0,
        "ttft_ms": None,
        **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens")),
        **dict.fromkeys(("reasoning_tokens", "usage_source", "cache_write_tokens", "served_tier")),
        **dict.fromkeys(("cost_nano_usd", "cost_source", "unpriced", "cost_breakdown", "price_version")),
    }
    assert (second.attempt, second.provider, second.reason, second.status) == (2, "b", "cut", None)
    assert bench.recorder.record.attempt_started_at == bench.recorder.begun[2].started_at


async def test_a_request_that_succeeds_at_once_has_no_further_fact() -> None:
    bench = bench_of(a=[whole])
    await ask(bench)
    assert (len(bench.recorder.begun), len(bench.recorder.journalled)) == (1, 1)
    assert bench.recorder.ended_attempts == []


async def test_an_attempt_knows_when_it_started_and_how_long_it_took() -> None:
    slow = FakeReply(0.25, b"no JSON")
    bench = bench_of(a=[lambda _: slow], b=[whole])
    slow.clock = bench.clock
    bench.clock.now += 1.5
    started = bench.clock.unix_us()
    await ask(bench)
    [failed] = bench.recorder.ended_attempts
    assert (failed.started_at, failed.latency_ms, failed.reason) == (started, 250.0, "protocol")
    retried = bench_of(a=[refusing(500), whole])
    await ask(retried)
    [first, second] = retried.recorder.begun
    # It began with its request.
    assert first.started_at is None
    assert second.started_at == first.created_at + 1_000_000
    assert retried.recorder.record.attempt_started_at == second.started_at


async def test_what_the_client_did_wrong_is_a_fact_but_no_failure_of_the_provider() -> None:
    bench = bench_of(a=[refusing(400)], b=[whole])
    await told(bench)
    assert bench.recorder.failed == []
    [ended] = bench.recorder.ended_attempts
    assert (ended.attempt, ended.status, ended.next_step) == (1, 400, "give_up")


def erring(status: int, body: object) -> Any:
    return lambda _: FakeReply(msgspec.json.encode(body), status=status)


def in_a_stream(body: object, *, typed: str | None = None) -> Any:
    head = b"" if typed is None else f"event: {typed}\n".encode()
    event = head + b"data: " + msgspec.json.encode(body) + b"\n\n"
    return lambda _: FakeReply(event, content_type="text/event-stream")


_LOW = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."
_QUOTA = "You exceeded your current quota, please check your plan and billing details."
BILLS = {
    "anthropic 400": ("anthropic", 400, {"error": {"type": "invalid_request_error", "message": _LOW}}),
    "anthropic 402": ("anthropic", 402, {"type": "error", "error": {"type": "billing_error", "message": "x"}}),
    "openai 400": ("openai", 400, {"error": {"message": "Secret limit", "code": "billing_hard_limit_reached"}}),
    "openai 429": ("openai", 429, {"error": {"message": _QUOTA, "type": "insufficient_quota"}}),
    "openai inactive": ("openai", 429, {"error": {"message": "Secret", "code": "billing_not_active"}}),
    "deepseek 402": ("deepseek", 402, {"error": {"message": "Insufficient Balance", "type": "unknown_error"}}),
    "openrouter 402": ("openrouter", 402, {"error": {"message": "Insufficient credits. Secret", "code": 402}}),
    "openrouter in band": ("openrouter", 200, {"error": {"message": "Secret", "code": 402}}),
    "xai 403": ("xai", 403, {"code": "c", "error": "Your team secret has either used all available credits or more"}),
    "gemini 400": ("gemini", 400, {"error": {"code": 400, "status": "FAILED_PRECONDITION",
                   "message": "Gemini API free tier is not available in your country. Please enable billing."}}),
    "gemini 403": ("gemini", 403, {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "Secret project",
                   "details": [{"reason": "BILLING_DISABLED"}]}}),
    "groq 400": ("groq", 400, {"error": {"message": "Secret", "code": "blocked_api_access"}}),
    "html 402": ("openai", 402, "<html>Secret</html>"),
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("bill", BILLS)
async def test_the_operators_bill_is_another_providers_turn_and_no_client_reads_it(
    bill: str, stream: bool
) -> None:
    kind, status, body = BILLS[bill]
    unpaid = provider("a", 1, provider_type=kind, model_mapping={"m": "up"})
    bench = bench_of(providers=(unpaid,), a=erring(status, body))
    error = await told(bench, stream=stream)
    assert (error.status, error.code, error.outcome) == (502, "upstream_account_refused", "error")
    for word in ("Secret", "secret", "credit balance", "Billing", "Insufficient", "free tier"):
        assert word not in error.message
    # It is asked once, and an administrator hears of it.
    assert (len(bench.upstream.requests), bench.slept) == (1, [])
    assert [each.reason for each in bench.recorder.failed] == ["account"]

    def good(_: object) -> FakeReply:
        return FakeReply(HELLO + STOP + DONE, content_type="text/event-stream") if stream else whole()

    both = bench_of(
        providers=(unpaid, provider("b", 2, model_mapping={"m": "up"})), a=erring(status, body), b=good
    )
    reply = await handle(both.gateway, both.call(), reader(stream=stream))
    assert isinstance(reply, WholeReply | StreamReply)
    assert header(reply, "x-llm-gateway-attempts") == "2"
    if isinstance(reply, StreamReply):
        reply.close()


async def test_a_bill_opens_the_breaker_as_a_402_does() -> None:
    mapping = {"model_mapping": {"m": "up"}}
    low = erring(400, {"error": {"message": "x", "code": "billing_hard_limit_reached"}})
    bench = bench_of(providers=(provider("a", 1, **mapping), provider("b", 2, **mapping)), a=low, b=whole)
    for _ in range(20):
        await ask(bench)
    assert bench.upstream.hosts.count("a") == 5


@pytest.mark.parametrize(
    ("kind", "event", "typed"),
    [
        ("openai", {"error": {"message": "Secret", "code": "insufficient_quota"}}, None),
        ("openrouter", {"error": {"message": "Secret", "code": 402}}, None),
        ("anthropic", {"type": "error", "error": {"type": "billing_error", "message": "Secret"}}, "error"),
        (
            "gemini",
            {"error": {"code": 402, "status": "FAILED_PRECONDITION", "message": "Please enable billing"}},
            None,
        ),
    ],
)
async def test_a_bill_inside_a_stream_is_another_providers_turn(
    kind: str, event: Any, typed: str | None
) -> None:
    unpaid = provider("a", 1, provider_type=kind, model_mapping={"m": "up"})
    error = await told(bench_of(providers=(unpaid,), a=in_a_stream(event, typed=typed)), stream=True)
    assert (error.code, "Secret" in error.message) == ("upstream_account_refused", False)
    good = FakeReply(HELLO + STOP + DONE, content_type="text/event-stream")
    bench = bench_of(
        providers=(unpaid, provider("b", 2, model_mapping={"m": "up"})),
        a=in_a_stream(event, typed=typed), b=good,
    )  # fmt: skip
    reply = await handle(bench.gateway, bench.call(), reader(stream=True))
    assert isinstance(reply, StreamReply)
    reply.close()
    assert [(each.reason, each.next_step) for each in bench.recorder.failed] == [("account", "failover")]


async def test_a_bill_after_the_commit_is_told_to_the_administrator_and_not_to_the_client() -> None:
    event = b'data: {"error":{"message":"Secret bill","code":"insufficient_quota"}}\n\n'
    bench = bench_of(a=lambda _: FakeReply(HELLO, event, content_type="text/event-stream"))
    reply = await handle(bench.gateway, bench.call(), reader(stream=True))
    assert isinstance(reply, StreamReply)
    seen, last = b"", False
    while not last:
        data, last = await reply.next()
        seen += data
    reply.close()
    assert b"upstream_account_refused" in seen
    assert b"Secret" not in seen
    assert [each.reason for each in bench.recorder.failed] == ["account"]
    assert bench.recorder.record.error_type == "upstream_account_refused"
    assert bench.recorder.ended_attempts == []


async def test_a_token_refused_inside_a_2xx_reply_is_renewed() -> None:
    grant = ClientCredentials(token_url="https://id.test/token", client_id="me")
    secured = provider("a", 1, oauth2=grant, model_mapping={"m": "up"})
    expired = FakeReply(b'{"error":{"message":"Secret","code":401}}')
    bench = bench_of(providers=(secured,), a=[expired, whole])
    await ask(bench)
    assert len(bench.tokens.forgotten) == 1


STATED = {"input_tokens": 100_025, "output_tokens": 1}
BEGUN = b"data: " + msgspec.json.encode({"type": "message_start", "message": {"usage": STATED}}) + b"\n\n"
OVERLOADED = b'data: {"type":"error","error":{"type":"overloaded_error","message":"full"}}\n\n'


@pytest.mark.parametrize(
    "pieces", [(BEGUN,), (BEGUN, CUT), (BEGUN, OVERLOADED), (BEGUN, b"data: {broken\n\n")]
)
async def test_a_prompt_that_was_stated_before_the_failure_is_in_the_row(pieces: tuple[Any, ...]) -> None:
    asked = provider("a", 1, provider_type="anthropic", model_mapping={"m": "up"})
    bench = bench_of(providers=(asked,), a=lambda _: FakeReply(*pieces, content_type="text/event-stream"))
    assert (await told(bench, stream=True)).outcome == "error"
    record = bench.recorder.record
    assert (record.prompt_tokens, record.completion_tokens) == (100_025, 0)
    assert record.usage_source == "provider/estimated"


async def test_a_failed_reply_keeps_the_usage_that_it_states() -> None:
    body = b'{"choices":[{"message":{},"finish_reason":"error"}],"usage":{"prompt_tokens":7,"completion_tokens":2}}'
    bench = bench_of(a=lambda _: FakeReply(body))
    await told(bench)
    record = bench.recorder.record
    assert (record.prompt_tokens, record.completion_tokens, record.usage_source) == (7, 2, "provider")


async def test_the_row_has_no_tokens_of_an_attempt_before_the_last() -> None:
    mapping = {"model_mapping": {"m": "up"}}
    first = provider("a", 1, provider_type="anthropic", **mapping)
    stated = lambda _: FakeReply(BEGUN, CUT, content_type="text/event-stream")  # noqa: E731
    both = (first, provider("b", 2, **mapping))
    bench = bench_of(model(retry=RetryRules(max_retries=0)), providers=both, a=stated, b=erring(500, {}))
    await told(bench, stream=True)
    assert bench.upstream.hosts == ["a", "b"]
    assert bench.recorder.record.prompt_tokens is None
