"""Queries through the flow: how they become chats, whom they are for, and what their clients hear."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import BadRequest, Forbidden, GatewayError
from llm_gateway.flow.call import Call
from llm_gateway.flow.gateway import Options
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION, CostHeaders
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import WholeReply
from llm_gateway.providers.base import NO_TAIL
from llm_gateway.surfaces.query.bodies import read_estimate, read_gateway_query, read_query
from llm_gateway.surfaces.query.dialect import ANSWER_LIMIT, QueryDialect
from tests.fakes.chat_requests import whole
from tests.fakes.in_memory import FakeGateway, FakeReply, ScriptedUpstream, credential, provider
from tests.fakes.prices import CHEAP, DEAR, prices_of, with_prices
from tests.fakes.usage_reader import ListedQueries


def bench_of(options: Options | None = None, **more: Any) -> FakeGateway:
    return FakeGateway(
        provider("openai", 1, model_mapping={"gpt-4o": "gpt-4o"}),
        provider("claude", 2, model_mapping={"claude-sonnet-4-5": "claude-sonnet-4-5"}),
        upstream=ScriptedUpstream(openai=lambda _: whole(), claude=lambda _: whole()),
        options=options,
        **more,
    )


def detailed(bench: FakeGateway) -> QueryDialect:
    return QueryDialect(bench.gateway, read_gateway_query, is_detailed=True)


def read(bench: FakeGateway, dialect: QueryDialect | None = None, **fields: Any) -> tuple[Any, Any, Call]:
    dialect = dialect or detailed(bench)
    call = bench.call(dialect=dialect)
    call.cost_headers = fields.pop("headers", None)
    call.cache_directive = fields.pop("cache", None)
    call.client_request_id = fields.pop("client_id", None)
    request, attribution = dialect.read(msgspec.json.encode({"query": "hello", **fields}), call)
    return request, attribution, call


def test_s3_21_a_query_is_a_chat_with_one_message() -> None:
    request, attribution, call = read(bench_of(), model="openai", temperature=0, max_tokens=7)
    assert (request.endpoint, request.model, request.stream) == ("chat/completions", "gpt-4o", False)
    assert {name: msgspec.json.decode(raw) for name, raw in request.fields.items()} == {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0,
        "max_completion_tokens": 7,
    }
    assert request.fallbacks == ("claude-sonnet-4-5",)
    assert attribution is NO_ATTRIBUTION
    assert call.cache_directive == "on"


def test_s3_5_task_and_version_tell_cached_replies_apart_and_request_and_tenant_do_not() -> None:
    bench = bench_of()
    plain = read(bench, model="openai")[0]
    same = read(bench, model="openai", request_id="1", tenant="t")[0]
    assert (plain.variant, plain.fields) == (same.variant, same.fields)
    others = {
        read(bench, model="openai", task_type="summarization")[0].variant,
        read(bench, model="openai", model_version="gpt-4o")[0].variant,
        plain.variant,
    }
    assert len(others) == 3


def test_s3_16_the_cache_is_the_client_s_and_the_setting_s() -> None:
    assert read(bench_of(), cache="bypass")[2].cache_directive == "bypass"
    assert read(bench_of(Options(cache_enabled=False)))[2].cache_directive is None
    assert read(bench_of(Options(cache_enabled=False)), cache="on")[2].cache_directive == "on"


def test_s3_24_a_ceiling_limits_the_answer() -> None:
    bench = with_prices(with_prices(bench_of(), "gpt-4o", openai=prices_of(CHEAP)), "claude-sonnet-4-5")
    request, _, call = read(bench, model="openai", max_cost_usd="0.5")
    assert bytes(request.fields["max_completion_tokens"]) == b"%d" % ANSWER_LIMIT
    assert call.cost_headers == CostHeaders(max_cost_usd="0.5", may_shorten=True)
    request, _, call = read(bench, model="openai", max_cost_usd=0.5, max_tokens=9, dry_run=True)
    assert bytes(request.fields["max_completion_tokens"]) == b"9"
    assert call.cost_headers == CostHeaders(max_cost_usd="0.5", dry_run="true")
    headers = CostHeaders(max_cost_usd="1", in_usage="on")
    request, _, call = read(bench, QueryDialect(bench.gateway, read_query), headers=headers)
    assert call.cost_headers == headers
    assert bytes(request.fields["max_completion_tokens"]) == b"%d" % ANSWER_LIMIT
    with pytest.raises(BadRequest, match="send 'max_cost_usd' alone"):
        read(bench, max_cost_usd=1, headers=headers)


def test_s3_13_ids_of_the_client_s_reach_the_row_and_its_errors() -> None:
    bench = bench_of()
    _, _, call = read(bench, request_id="body")
    assert call.client_request_id == "body"
    _, _, call = read(bench, request_id="body", client_id="header")
    assert call.client_request_id == "header"
    for body_id, header_id, known in (("body", "header", "body"), (None, "header", "header")):
        _, _, call = read(bench, request_id=body_id, client_id=header_id)
        error = Forbidden("No.")
        bodies = (
            call.dialect.error_response(error, "ours").body,
            call.dialect.stream_error(error, NO_TAIL)[6:],
        )
        assert [msgspec.json.decode(body)["request_id"] for body in bodies] == [known, known]


def test_s3_13_only_a_log_has_the_query() -> None:
    bench, log = bench_of(), ListedQueries()
    dialect = QueryDialect(bench.gateway, read_gateway_query, is_detailed=True, log=log)
    _, _, call = read(bench, dialect, task_type="summarization", request_id="mine")
    [query] = log.queries
    assert (query.model, query.query, query.task_type) == ("claude-sonnet-4-5", "hello", "summarization")
    assert (query.request_id, query.client_request_id) == (call.request_id, "mine")
    with pytest.raises(GatewayError):
        read(bench, dialect, model="mistral")
    assert len(log.queries) == 1


async def send(bench: FakeGateway, dialect: QueryDialect, **fields: Any) -> dict[str, Any]:
    body = msgspec.json.encode({"query": "one two three", **fields})
    reply = await handle(bench.gateway, bench.call(dialect=dialect), lambda: body)
    assert isinstance(reply, WholeReply)
    answer: dict[str, Any] = msgspec.json.decode(reply.body)
    return answer


async def test_s3_21_the_estimate_is_made_before_the_query_is_sent() -> None:
    bench = with_prices(bench_of(), "gpt-4o", openai=prices_of(CHEAP))
    answer = await send(bench, detailed(bench), model="openai")
    estimate = answer["cost_estimate"]
    assert (estimate["input_tokens"], estimate["output_tokens"]) == (10, 1024)
    assert estimate["estimated_cost_usd"] == 0.002058
    assert answer["cost_usd"] == 0.000005


async def test_s3_24_an_answer_is_shortened_to_what_the_ceiling_pays_for() -> None:
    bench = with_prices(bench_of(), "gpt-4o", openai=prices_of(DEAR))
    bench = with_prices(bench, "claude-sonnet-4-5", claude=prices_of(CHEAP))
    answer = await send(bench, detailed(bench), model="openai", max_cost_usd="0.01")
    sent = msgspec.json.decode(bench.upstream.requests[0].body or b"")
    limit = sent["max_completion_tokens"]
    assert answer["cost_estimate"]["output_tokens"] == limit < ANSWER_LIMIT
    highest = answer["cost_estimate"]["highest_cost_usd"]
    # One token more would be too dear.
    assert highest <= 0.01 < highest + 0.00002
    with pytest.raises(GatewayError, match=r"max_cost_usd allows 0\.000001 USD"):
        await send(bench, detailed(bench), model="openai", max_cost_usd="0.000001")


async def test_s3_2_a_family_whose_breaker_is_open_is_not_asked() -> None:
    bench = bench_of()
    bench.upstream.answers["openai"] = [lambda _: FakeReply(b"{}", status=500)]
    answers = [await send(bench, detailed(bench), query=f"number {n}", model="openai") for n in range(40)]
    assert {answer["original_model"] for answer in answers} == {"openai"}
    assert (answers[0]["num_retries"], answers[-1]["num_retries"]) == (1, 0)
    assert bench.upstream.hosts[-2:] == ["claude", "claude"]


async def test_s3_22_an_estimate_sends_nothing() -> None:
    bench = with_prices(bench_of(), "gpt-4o", openai=prices_of(CHEAP))
    dialect = QueryDialect(bench.gateway, read_estimate, is_detailed=True, is_estimate=True)
    answer = await send(bench, dialect, model="openai", expected_response_tokens=10)
    assert (answer["output_tokens"], answer["output_tokens_source"]) == (10, "expected")
    assert "dry_run" not in answer
    assert (bench.upstream.requests, bench.recorder.journalled) == ([], [])
    answer = await send(bench, detailed(bench), model="openai", dry_run=True, tenant="t")
    assert (answer["dry_run"], answer["within_budget"], answer["tenant"]) == (True, True, "t")
    assert bench.upstream.requests == []


async def test_s4_35_a_family_may_have_the_prefix_of_models() -> None:
    bench = bench_of(Options(provider_suffix="Proxy"))
    assert read(bench, model="Proxy/openai")[0].model == "gpt-4o"
    assert read(bench, model="Proxy/other")[0].model == "Proxy/other"
    for fields in ({"model": "Proxy/gpt-4o"}, {"model": "openai", "model_version": "Proxy/gpt-4o"}):
        answer = await send(bench, detailed(bench), **fields)
        # No other model answered for it.
        assert (answer["model_version"], answer["original_model"]) == ("gpt-4o", None)


async def test_a_key_that_lost_its_rights_meanwhile_is_refused() -> None:
    bench = bench_of(credentials=(credential("another"),))
    with pytest.raises(GatewayError, match="unknown or disabled"):
        read(bench, model="openai")
