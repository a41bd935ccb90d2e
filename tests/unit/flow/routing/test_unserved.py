"""Deployments without the model or the endpoint: found out by one attempt, remembered, and left out."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from llm_gateway.core.config.models import Model, RetryRules
from llm_gateway.core.config.providers import Provider
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.errors import GatewayError
from llm_gateway.core.routing.circuit_breaker import BreakerRules
from llm_gateway.core.secret import Secret
from llm_gateway.flow.explain.answer import Question
from llm_gateway.flow.explain.explainer import explain
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.flow.provider_checks.probes import Prober
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import StreamReply, WholeReply
from llm_gateway.flow.routing.selector import Selector
from llm_gateway.flow.routing.unserved import UnservedDeployments
from llm_gateway.surfaces.openai.dialect import CHAT, EMBEDDING, RESPONSE
from tests.fakes.in_memory import FakeGateway, FakeReply, ScriptedUpstream, provider
from tests.fakes.routing import (
    DONE,
    HELLO,
    STOP,
    WHOLE,
    keys_of,
    model,
    plan_for,
    refusing,
    snapshot_of,
    whole,
)

DIALECTS = {"chat/completions": CHAT, "embeddings": EMBEDDING, "responses": RESPONSE}
NO_MODEL = refusing(404, code="model_not_found")
VECTORS = b'{"object":"list","data":[],"usage":{"prompt_tokens":1,"total_tokens":1}}'
WHOLE_RESPONSE = b'{"id":"resp_1","object":"response","status":"completed","output":[],"usage":null}'
NOW = 1000.0


def bench_of(*providers: Provider, models: tuple[Model, ...] = (), **answers: Any) -> FakeGateway:
    return FakeGateway(
        *providers,
        upstream=ScriptedUpstream(**answers),
        models=models,
        selector=Selector(draw=lambda: 0.5, rules=BreakerRules()),
    )


def catch_all_and_mapped(**answers: Any) -> FakeGateway:
    """Return the README's first provider, and a second one that maps `claude-y`."""
    return bench_of(provider("first", 1), provider("second", 2, model_mapping={"claude-y": "up"}), **answers)


async def ask(
    bench: FakeGateway, name: str = "claude-y", endpoint: str = "chat/completions", **fields: Any
) -> Any:
    body = (
        {"messages": [{"role": "user", "content": "a"}]} if endpoint == "chat/completions" else {"input": "a"}
    )
    encoded = msgspec.json.encode({"model": name, **body, **fields})

    async def read_body() -> bytes:
        await asyncio.sleep(0)
        return encoded

    reply = await handle(bench.gateway, bench.call(dialect=DIALECTS[endpoint]), read_body)
    if isinstance(reply, StreamReply):
        last = False
        while not last:
            _, last = await reply.next()
        reply.close()
    return reply


async def told(bench: FakeGateway, *args: Any, **fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await ask(bench, *args, **fields)
    return caught.value


def states(bench: FakeGateway) -> dict[str, Any]:
    return {state.provider_key: state for state in bench.gateway.selector._deployment_states.values()}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("refusal", [NO_MODEL, refusing(404), refusing(405), refusing(501)])
async def test_a_catch_all_provider_takes_no_share_of_a_model_that_it_does_not_have(
    refusal: Any, stream: bool
) -> None:
    def answer(_: object) -> FakeReply:
        return FakeReply(HELLO + STOP + DONE, content_type="text/event-stream") if stream else whole()

    bench = catch_all_and_mapped(first=refusal, second=answer)
    for _ in range(8):
        assert isinstance(await ask(bench, stream=stream), WholeReply | StreamReply)
    assert bench.upstream.hosts.count("first") == 1
    assert bench.upstream.hosts.count("second") == 8
    first = states(bench)["first"]
    assert (first.in_flight, first.breaker.closed, first.load(bench.clock.now)) == (0, True, 0)
    assert [(each.reason, each.next_step) for each in bench.recorder.failed] == [("unserved", "failover")]


async def test_an_answer_without_the_model_inside_a_2xx_reply_counts_too() -> None:
    body = b'{"error":{"message":"Unexpected endpoint or method. (POST /v1/x). Returning 200 anyway"}}'
    bench = catch_all_and_mapped(first=lambda _: FakeReply(body), second=whole)
    for _ in range(8):
        await ask(bench)
    assert bench.upstream.hosts.count("first") == 1


async def test_an_endpoint_is_remembered_apart_from_the_others() -> None:
    def old(request: Any) -> FakeReply:
        if request.url.endswith("/responses"):
            return FakeReply(b'{"detail":"Not Found"}', status=404)
        return whole()

    def new(request: Any) -> FakeReply:
        return FakeReply(WHOLE_RESPONSE) if request.url.endswith("/responses") else whole()

    mapping = {"model_mapping": {"m": "up"}}
    bench = bench_of(provider("old", 1, **mapping), provider("new", 2, **mapping), old=old, new=new)
    for _ in range(8):
        await ask(bench, "m", "responses")
    assert bench.upstream.hosts.count("old") == 1
    bench.upstream.requests.clear()
    for _ in range(8):
        await ask(bench, "m")
    assert bench.upstream.hosts.count("old") == bench.upstream.hosts.count("new") == 4


async def test_only_when_nobody_has_it_does_the_client_get_the_404() -> None:
    bench = catch_all_and_mapped(first=NO_MODEL, second=refusing(501))
    for _ in range(3):
        error = await told(bench)
        assert (error.status, error.outcome) == (404, "error")
    # Nobody else serves it, so all that are remembered are asked again.
    assert bench.upstream.hosts.count("first") == bench.upstream.hosts.count("second") == 3
    assert bench.slept == []


async def test_one_provider_alone_is_asked_every_time() -> None:
    bench = bench_of(provider("first", 1), first=NO_MODEL)
    for _ in range(3):
        assert (await told(bench)).status == 404
    assert len(bench.upstream.requests) == 3


async def test_another_failure_is_told_rather_than_the_404() -> None:
    retry = model("claude-y", retry=RetryRules(max_retries=0))
    for order in ({"first": 404, "second": 500}, {"first": 500, "second": 404}):
        bench = bench_of(
            provider("first", 1),
            provider("second", 2, model_mapping={"claude-y": "up"}),
            models=(retry,),
            **{name: refusing(status) for name, status in order.items()},
        )
        for _ in range(4):
            error = await told(bench)
            assert (error.status, error.code) == (502, "upstream_error")


async def test_a_failure_of_those_who_have_it_is_retried_there_alone() -> None:
    bench = catch_all_and_mapped(first=NO_MODEL, second=[TransportError("connect", "x"), whole])
    await ask(bench)
    assert bench.upstream.hosts == ["first", "second", "second"]
    assert [each.next_step for each in bench.recorder.ended_attempts] == ["failover", "retry"]


async def test_it_costs_nothing_of_the_retry_budget() -> None:
    mapping = {"model_mapping": {"m": "up"}}
    lacking = [provider(f"p{number}", number, **mapping) for number in range(1, 21)]
    answers = {each.provider_key: NO_MODEL for each in lacking}
    bench = bench_of(*lacking, provider("last", 99, **mapping), last=whole, **answers)
    await ask(bench, "m")
    assert len(bench.upstream.requests) <= 21
    plan = plan_for(bench.gateway.selector, bench.gateway.snapshots.current, "m")  # type: ignore[arg-type]
    assert (plan.budget.in_use, plan.budget._tokens) == (0, 10.0)


async def test_those_who_answered_so_are_the_last_resort_when_the_others_fail() -> None:
    retry = model("claude-y", retry=RetryRules(max_retries=0))
    bench = bench_of(
        provider("first", 1),
        provider("second", 2, model_mapping={"claude-y": "up"}),
        models=(retry,),
        first=[NO_MODEL, whole],
        second=[whole, refusing(500)],
    )
    await ask(bench)
    await ask(bench)
    assert bench.upstream.hosts == ["first", "second", "second", "first"]
    assert [each.next_step for each in bench.recorder.ended_attempts] == ["failover", "failover"]


async def test_a_404_of_all_deployments_goes_to_the_fallback_models() -> None:
    rules = model("m", fallbacks=("n",))
    bench = bench_of(
        provider("a", 1, model_mapping={"m": "up"}), provider("b", 2, model_mapping={"n": "other"}),
        models=(rules,), a=NO_MODEL, b=whole,
    )  # fmt: skip
    reply = await ask(bench, "m")
    assert dict(reply.headers)[b"x-llm-gateway-model"] == b"n"
    assert [each.next_step for each in bench.recorder.ended_attempts] == ["fallback"]


async def test_a_fallback_model_leaves_them_out_as_well() -> None:
    bench = bench_of(
        provider("catch", 1), provider("a", 2, model_mapping={"m": "up"}),
        provider("b", 3, model_mapping={"n": "other"}),
        models=(model("m", fallbacks=("n",), retry=RetryRules(max_retries=0)),),
        catch=NO_MODEL, a=refusing(500), b=whole,
    )  # fmt: skip
    for _ in range(6):
        reply = await ask(bench, "m")
        assert dict(reply.headers)[b"x-llm-gateway-model"] == b"n"
    # Once for each name; afterwards only as the last resort, which the fallback spares.
    assert bench.upstream.hosts.count("catch") <= 2


async def test_a_stored_response_that_was_not_found_says_nothing_of_the_deployment() -> None:
    def stored(_: object) -> FakeReply:
        error = {"message": "Previous response with id 'resp_9' not found.", "param": "previous_response_id"}
        return FakeReply(msgspec.json.encode({"error": error}), status=404)

    bench = bench_of(provider("a", 1, model_mapping={"m": "up"}), a=stored)
    error = await told(bench, "m", "responses", previous_response_id="resp_9")
    assert (error.status, bench.gateway.selector.unserved.is_empty) == (404, True)


async def test_a_file_that_was_not_found_is_the_clients() -> None:
    def no_file(_: object) -> FakeReply:
        return FakeReply(b'{"error":{"message":"No such File object: file-abc"}}', status=404)

    mapping = {"model_mapping": {"m": "up"}}
    bench = bench_of(provider("a", 1, **mapping), provider("b", 2, **mapping), a=no_file, b=no_file)
    assert (await told(bench, "m")).status == 404
    assert len(bench.upstream.requests) == 1


async def test_after_ten_minutes_it_is_asked_again() -> None:
    bench = catch_all_and_mapped(first=NO_MODEL, second=whole)
    for _ in range(4):
        await ask(bench)
    bench.clock.now += 601
    for _ in range(4):
        await ask(bench)
    assert bench.upstream.hosts.count("first") == 2
    assert len(bench.gateway.selector.unserved._answers) == 1


# -- changes of rows


def remembered(snapshot: Snapshot, *keys: str) -> Selector:
    selector = Selector(draw=lambda: 0.5)
    route = snapshot.route("m")
    assert route is not None
    for deployment in route.deployments:
        if deployment.provider_key in keys:
            selector.unserved.remember(deployment, "m", "chat/completions", snapshot, NOW)
    return selector


PAIR = (provider("a", 1), provider("b", 2, model_mapping={"m": "m"}))


@pytest.mark.parametrize(
    "change",
    [
        {"api_base": "https://other.test"},
        {"secret": Secret("another")},
        {"provider_type": "vllm"},
        {"model_mapping": {"m*": "*"}},
        {"api_version": "v9"},
    ],
)
def test_a_change_of_the_providers_row_forgets_it(change: dict[str, Any]) -> None:
    selector = remembered(snapshot_of(*PAIR), "a")
    assert keys_of(plan_for(selector, snapshot_of(*PAIR)), NOW) == ["b"]
    changed = snapshot_of(msgspec.structs.replace(PAIR[0], **change), PAIR[1])
    assert sorted(keys_of(plan_for(selector, changed), NOW)) == ["a", "b"]


def test_a_change_of_the_models_row_forgets_it_and_one_of_another_row_does_not() -> None:
    selector = remembered(snapshot_of(*PAIR), "a")
    other = snapshot_of(*PAIR, provider("c", 3, model_mapping={"x": "y"}), models=(model("x"),))
    assert keys_of(plan_for(selector, other), NOW) == ["b"]
    changed = snapshot_of(*PAIR, models=(model("m"),))
    assert sorted(keys_of(plan_for(selector, changed), NOW)) == ["a", "b"]


def test_a_provider_that_took_the_key_of_another_is_not_blamed() -> None:
    snapshot = snapshot_of(*PAIR)
    selector = remembered(snapshot, "a")
    route = snapshot.route("m")
    assert route is not None
    renamed = snapshot_of(provider("a", 9), PAIR[1])
    selector.unserved.remember(route.deployments[0], "m", "chat/completions", renamed, NOW)
    assert sorted(keys_of(plan_for(selector, renamed), NOW)) == ["a", "b"]


def test_the_memory_is_bounded() -> None:
    snapshot = snapshot_of(*PAIR)
    unserved = UnservedDeployments()
    for number in range(5000):
        name = f"n{number}"
        route = snapshot.route(name)
        assert route is not None
        unserved.remember(route.deployments[0], name, "chat/completions", snapshot, NOW)
        unserved.served(route, "chat/completions", snapshot, NOW)
    assert len(unserved._answers) <= 4096
    assert len(unserved._narrowed) <= 4096


def test_shares_among_those_who_serve_it_stay_exact() -> None:
    snapshot = snapshot_of(
        provider("c", 9),
        *(provider(k, n, model_mapping={"m": "m"}, weight=n) for n, k in ((1, "a"), (3, "b"))),
    )
    selector = remembered(snapshot, "c")
    found = [plan_for(selector, snapshot).first(NOW).deployment.provider_key for _ in range(8)]
    assert (found.count("a"), found.count("b"), found.count("c")) == (2, 6, 0)


# -- model lists


def listing(*names: str, **more: Any) -> Any:
    body = msgspec.json.encode({"object": "list", "data": [{"id": name} for name in names], **more})
    return lambda request: FakeReply(body) if request.method == "GET" else FakeReply(WHOLE)


async def probed(bench: FakeGateway) -> None:
    snapshot = bench.gateway.snapshots.current
    assert snapshot is not None
    await Prober(bench.gateway, ttl=5.0).probe_all(snapshot)


async def test_a_catch_all_is_left_out_for_names_that_its_known_list_lacks() -> None:
    bench = catch_all_and_mapped(first=listing("gpt-4o"), second=whole)
    await probed(bench)
    bench.upstream.requests.clear()
    for _ in range(8):
        await ask(bench)
    assert set(bench.upstream.hosts) == {"second"}
    # Nobody else serves this one.
    await ask(bench, "gpt-99")
    assert bench.upstream.hosts[-1] == "first"


async def test_the_list_rules_out_no_name_that_the_mapping_writes_out() -> None:
    bench = bench_of(
        provider("a", 1, model_mapping={"*": "*", "m": "m"}), provider("b", 2, model_mapping={"m": "up"}),
        a=listing("gpt-4o"), b=whole,
    )  # fmt: skip
    await probed(bench)
    snapshot = bench.gateway.snapshots.current
    assert snapshot is not None
    assert sorted(keys_of(plan_for(bench.gateway.selector, snapshot), bench.clock.now)) == ["a", "b"]


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("openai", listing()),
        ("openai", listing("gpt-4o", has_more=True)),
        ("openai", refusing(404)),
        ("azure", listing("gpt-4o")),
        ("llamacpp", listing("gpt-4o")),
        ("lmstudio", listing("gpt-4o")),
        ("fireworks", listing("gpt-4o")),
    ],
)
async def test_a_list_that_is_empty_partial_missing_or_not_the_whole_truth_is_not_known(
    kind: str, answer: Any
) -> None:
    bench = bench_of(
        provider("first", 1, provider_type=kind), provider("second", 2, model_mapping={"claude-y": "up"}),
        first=answer, second=whole,
    )  # fmt: skip
    await probed(bench)
    snapshot = bench.gateway.snapshots.current
    assert snapshot is not None
    assert sorted(keys_of(plan_for(bench.gateway.selector, snapshot, "claude-y"), bench.clock.now)) == [
        "first", "second",
    ]  # fmt: skip


async def test_a_list_is_forgotten_with_a_change_of_the_row_and_after_ten_minutes() -> None:
    bench = catch_all_and_mapped(first=listing("gpt-4o"), second=whole)
    await probed(bench)
    snapshot, selector = bench.gateway.snapshots.current, bench.gateway.selector
    assert snapshot is not None
    assert keys_of(plan_for(selector, snapshot, "claude-y"), bench.clock.now) == ["second"]
    moved = snapshot_of(provider("first", 1, api_base="https://x.test"), snapshot.providers[1].provider)
    assert len(keys_of(plan_for(selector, moved, "claude-y"), bench.clock.now)) == 2
    assert len(keys_of(plan_for(selector, snapshot, "claude-y"), bench.clock.now + 601)) == 2


async def test_those_who_do_not_list_it_are_asked_when_all_others_say_that_they_lack_it() -> None:
    bench = catch_all_and_mapped(first=listing("gpt-4o"), second=NO_MODEL)
    await probed(bench)
    bench.upstream.requests.clear()
    await ask(bench)
    assert bench.upstream.hosts == ["second", "first"]
    failing = catch_all_and_mapped(first=listing("gpt-4o"), second=refusing(400))
    await probed(failing)
    failing.upstream.requests.clear()
    assert (await told(failing)).status == 400
    assert failing.upstream.hosts == ["second"]


# -- what admins see


async def test_explain_and_warnings_show_both_reasons() -> None:
    bench = bench_of(
        provider("listing", 1), provider("lacking", 2), provider("good", 3, model_mapping={"m": "up"}),
        listing=listing("gpt-4o"), lacking=NO_MODEL, good=whole,
    )  # fmt: skip
    snapshot, unserved = bench.gateway.snapshots.current, bench.gateway.selector.unserved
    assert snapshot is not None
    assert unserved.warnings(snapshot, "m", bench.clock.now) == []
    await probed(bench)
    for _ in range(2):
        await ask(bench, "m")
    found = explain(bench.gateway, Question(model="m"))
    assert [each.provider for each in found.order] == ["good"]
    (route,) = found.routes
    assert [each.provider for each in route.candidates] == ["good"]
    assert {(each.provider, each.reason) for each in route.left_out} == {
        ("listing", "not_listed"), ("lacking", "unserved"),
    }  # fmt: skip
    assert unserved.warnings(snapshot, "m", bench.clock.now) == [
        "provider 'listing' does not list 'm'",
        "provider 'lacking' answered that it has no model 'm' at /v1/chat/completions",
    ]


async def test_explain_shows_all_as_candidates_when_nobody_serves_it() -> None:
    bench = catch_all_and_mapped(first=NO_MODEL, second=NO_MODEL)
    await told(bench)
    found = explain(bench.gateway, Question(model="claude-y"))
    (route,) = found.routes
    assert ({each.provider for each in route.candidates}, route.left_out) == ({"first", "second"}, ())
