"""Retries, breakers, fallbacks, affinity, probes and explain, over real sockets and with several workers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.fakes.calls import Lane
from tests.fakes.script import Script, error_body, error_script
from tests.fakes.upstream import FakeUpstream

STORE_MATTERS = False
_QUICK = {"MAX_RETRIES": "2", "INITIAL_BACKOFF": "5", "MAX_BACKOFF": "1000"}


@pytest.fixture(scope="module")
def retrying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Return a gateway that tries again, and soon."""
    gateway = GatewayProcess(tmp_path_factory.mktemp("retrying"), **_QUICK)
    try:
        yield gateway.start()
        assert gateway.stop() == 0, gateway.log()
        assert gateway.distress() == [], gateway.log()
    finally:
        gateway.close()


@pytest.fixture
def eager(retrying: GatewayProcess, fake: FakeUpstream) -> Iterator[Desk]:
    """Return a corner of that gateway."""
    made = Desk(retrying, fake)
    yield made
    made.clear()


def set_rules(desk: Desk, **fields: Any) -> None:
    accepted(desk.gateway.admin.post("/models", json={"name": desk.model} | fields))


def explained(desk: Desk, **fields: Any) -> dict[str, Any]:
    return accepted(desk.gateway.admin.post("/route/explain", json={"model": desk.model} | fields))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "plan", [error_script(500), error_script(503), Script(fault="reset"), Script(fault="fin", fault_at=0)]
)
def test_s3_8_s3_17_the_only_provider_is_asked_again(eager: Desk, stream: bool, plan: Script) -> None:
    lane = eager.provider()
    lane.next += [plan, plan]
    answer = eager.chat(stream=stream)
    assert answer.status_code == 200
    row = eager.gateway.usage_row(answer.headers["x-request-id"])
    # A dead idle connection is tried afresh within the same attempt.
    assert row["attempts"] == int(answer.headers["x-llm-gateway-attempts"]) in {2, 3}
    assert (row["outcome"], row["provider"]) == ("ok", lane.name)


def test_c29_tries_end_and_the_last_error_is_told_with_their_number(eager: Desk) -> None:
    lane = eager.failing(error_script(500))
    answer = eager.chat()
    assert (answer.status_code, answer.headers["x-llm-gateway-attempts"]) == (502, "3")
    assert len(lane.chats) == 3
    steps = eager.gateway.metrics_page()
    assert steps("llm_gateway_recovery_steps_total", provider=lane.name, step="retry") == 2
    assert steps("llm_gateway_recovery_steps_total", provider=lane.name, step="give_up") == 1
    assert steps("llm_gateway_failed_attempts_total", provider=lane.name, reason="status") == 3


def test_s3_9_a_long_retry_after_goes_to_the_client_at_once(eager: Desk) -> None:
    lane = eager.failing(error_script(429, retry_after="77"))
    answer = eager.chat()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "77")
    assert len(lane.chats) == 1


def test_c32_a_400_is_never_sent_twice(eager: Desk) -> None:
    lane = eager.failing(error_script(400))
    assert eager.chat().status_code == 400
    assert len(lane.chats) == 1


async def test_an_outage_of_the_only_provider_costs_at_most_1_2_attempts_a_request(eager: Desk) -> None:
    lane = eager.failing(error_script(500))
    count = 400
    key = eager.key
    async with httpx.AsyncClient(base_url=eager.gateway.origin, trust_env=False, timeout=30) as client:
        slots = asyncio.Semaphore(20)

        async def ask() -> int:
            async with slots:
                answer = await client.post(
                    "/v1/chat/completions", json=eager.body(), headers={"authorization": f"Bearer {key}"}
                )
                return answer.status_code

        statuses = await asyncio.gather(*(ask() for _ in range(count)))
    assert set(statuses) == {502}
    assert count <= len(lane.chats) <= 1.2 * count
    page = eager.gateway.metrics_page()
    assert page("llm_gateway_open_breakers", provider=lane.name) == 1
    assert page("llm_gateway_breaker_openings_total", provider=lane.name) >= 1
    detailed = eager.gateway.http.get("/health/detailed").json()
    (breaker,) = detailed["breakers"][lane.name]
    assert breaker["upstream_model"] == eager.upstream_model
    assert breaker["state"] in {"open", "half_open"}
    # It comes back.
    lane.default = Script()
    assert eager.chat().status_code == 200
    assert eager.gateway.metrics_page()("llm_gateway_open_breakers", provider=lane.name) == 0


def test_an_open_breaker_is_left_alone(desk: Desk) -> None:
    bad = desk.failing(error_script(500), "bad")
    good = desk.provider("good")
    for _ in range(24):
        assert desk.chat().status_code == 200
    assert len(bad.chats) == 5
    assert len(good.chats) == 24
    said = explained(desk)
    assert [stop["provider"] for stop in said["order"]] == [good.name]
    left_out = {left["provider"]: left["reason"] for left in said["routes"][0]["left_out"]}
    assert left_out[bad.name] == "breaker_open"


def test_streams_that_are_cut_open_the_breaker(desk: Desk) -> None:
    bad = desk.failing(Script(fault="reset", fault_at=4), "bad")
    for _ in range(5):
        assert "[DONE]" not in desk.chat(stream=True).text
    good = desk.provider("good")
    for _ in range(6):
        assert desk.chat(stream=True).text.rstrip().endswith("[DONE]")
    assert (len(bad.chats), len(good.chats)) == (5, 6)


def test_clients_that_hang_up_open_no_breaker(desk: Desk) -> None:
    lane = desk.failing(Script(fault="stall", fault_at=3), "slow")
    key = desk.key
    for number in range(6):
        with desk.gateway.http.stream(
            "POST",
            "/v1/chat/completions",
            json=desk.body(stream=True),
            headers={"authorization": f"Bearer {key}"},
        ) as answer:
            assert answer.status_code == 200
            next(answer.iter_raw())
        lane.wait(lambda calls, number=number: len(calls) == number + 1 and calls[-1].left)  # type: ignore[misc]
    assert explained(desk)["routes"][0]["candidates"][0]["breaker"] == "closed"
    eventually(lambda: explained(desk)["routes"][0]["candidates"][0]["in_flight"], lambda number: number == 0)


def test_a_client_that_leaves_ends_the_wait_for_a_retry(desk: Desk) -> None:
    set_rules(desk, retry={"max_retries": 5, "initial_backoff_ms": 60_000, "max_backoff_ms": 60_000})
    lane = desk.failing(error_script(500))
    with pytest.raises(httpx.ReadTimeout):
        desk.gateway.post("/v1/chat/completions", desk.key, json=desk.body(), timeout=0.5)
    (call,) = lane.wait(lambda calls: len(calls) == 1)
    row = desk.gateway.usage_row(str(call.header("x-request-id")))
    assert (row["outcome"], row["status_code"], row["attempts"]) == ("aborted", 499, 1)


@pytest.mark.parametrize("stream", [False, True])
def test_s2_26_s3_10_another_model_answers(desk: Desk, stream: bool) -> None:
    desk.failing(error_script(503), "bad")
    other = desk.provider("other", model_mapping={f"{desk.model}-b": "small"})
    set_rules(desk, fallbacks=[f"{desk.model}-b"])
    answer = desk.chat(stream=stream)
    assert answer.status_code == 200
    assert answer.headers["x-llm-gateway-model"] == f"{desk.model}-b"
    assert answer.headers["x-llm-gateway-attempts"] == "2"
    row = desk.gateway.usage_row(answer.headers["x-request-id"])
    assert (row["model"], row["upstream_model"], row["provider"]) == (desk.model, "small", other.name)
    bare = desk.credential("-bare", allowed_models=[desk.model])
    assert desk.gateway.post("/v1/chat/completions", bare, json=desk.body(stream=stream)).status_code == 503


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_is_too_long_goes_to_the_larger_model(desk: Desk, stream: bool) -> None:
    body = error_body("This model's maximum context length is 9 tokens.", code="context_length_exceeded")
    small = [desk.failing(Script(status=400, body=body, ignore_stream=True), name) for name in ("a", "b")]
    desk.provider("large", model_mapping={f"{desk.model}-large": "large"})
    told = desk.chat(stream=stream)
    assert (told.status_code, told.json()["error"]["code"]) == (400, "context_length_exceeded")
    set_rules(desk, context_fallbacks=[f"{desk.model}-large"])
    answer = desk.chat(stream=stream)
    assert (answer.status_code, answer.headers["x-llm-gateway-model"]) == (200, f"{desk.model}-large")
    assert sum(len(lane.chats) for lane in small) == 2


def test_affinity_keeps_a_user_at_one_provider(desk: Desk) -> None:
    lanes = [desk.provider(name) for name in ("a", "b", "c")]
    set_rules(desk, affinity="user")
    for user in ("ann", "ben", "cem"):
        before = [len(lane.chats) for lane in lanes]
        foretold = explained(desk, user=user)["order"][0]["provider"]
        for _ in range(4):
            assert desk.chat(user=user).status_code == 200
        gained = {lane.name: len(lane.chats) - had for lane, had in zip(lanes, before, strict=True)}
        assert gained[foretold] == 4


def test_a_cut_request_is_not_sent_twice_where_that_is_forbidden(desk: Desk) -> None:
    set_rules(desk, retry={"retry_cut": False})
    lanes = [desk.failing(Script(fault="reset", fault_at=0), name) for name in ("a", "b")]
    assert desk.chat().json()["error"]["code"] == "upstream_cut"
    assert sum(len(lane.chats) for lane in lanes) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_models_own_timeout_acts_before_the_commit(desk: Desk, stream: bool) -> None:
    set_rules(desk, timeouts={"first_content": 0.2})
    desk.failing(Script(delay=30), "slow")
    good = desk.provider("good")
    for _ in range(2):
        assert desk.chat(stream=stream).status_code == 200
    assert len(good.chats) == 2


def test_explain_foretells_live_requests(desk: Desk) -> None:
    lanes = {lane.name: lane for lane in (desk.provider(f"w{n}", weight=n) for n in (3, 2, 1))}
    for _ in range(12):
        foretold = [explained(desk)["order"] for _ in range(2)]
        assert foretold[0] == foretold[1]
        before = {name: len(lane.chats) for name, lane in lanes.items()}
        assert desk.chat().status_code == 200
        (asked,) = [name for name, lane in lanes.items() if len(lane.chats) > before[name]]
        assert asked == foretold[0][0]["provider"]


def test_periodic_probes_show_in_the_health_metric(launch: Launch, fake: FakeUpstream) -> None:
    gateway = launch(WORKERS=2)
    desk = Desk(gateway, fake)
    lane = desk.provider("probed", probe_interval=1)
    idle = desk.provider("idle")

    def probes(of: Lane) -> int:
        return sum(call.path.endswith("/models") for call in of.calls)

    eventually(lambda: probes(lane), lambda number: number >= 3, seconds=20)
    assert probes(idle) == 0
    assert gateway.metrics("llm_proxy_provider_health", provider=lane.name) == 1
    gateway.admin.patch(f"/providers/{lane.name}", json={"api_base": "http://127.0.0.1:9/v1"})
    eventually(
        lambda: gateway.metrics("llm_proxy_provider_health", provider=lane.name),
        lambda value: value == 0,
        seconds=20,
    )
    gateway.stop()
    assert gateway.distress() == []


@pytest.mark.parametrize("stream", [False, True])
def test_the_readmes_catch_all_provider_takes_no_share_of_a_model_mapped_later(
    desk: Desk, fake: FakeUpstream, stream: bool
) -> None:
    first = desk.failing(error_script(404), "first", model_mapping={f"{desk.model}*": "*"})
    second = desk.provider("second")
    answers = [desk.chat(stream=stream) for _ in range(8)]
    assert [answer.status_code for answer in answers] == [200] * 8
    assert (len(first.chats), len(second.chats)) == (1, 8)
    (route,) = explained(desk)["routes"]
    assert [each["provider"] for each in route["candidates"]] == [second.name]
    assert {"provider": first.name, "reason": "unserved"} in route["left_out"]
    row = accepted(desk.gateway.admin.post("/models", json={"name": desk.model}))
    assert row["warnings"] == []
    accepted(desk.gateway.admin.patch(f"/providers/{first.name}", json={"weight": 2}))
    # Its row has changed, so it is asked once more.
    assert [desk.chat(stream=stream).status_code for _ in range(4)] == [200] * 4
    assert len(first.chats) == 2
    warnings = accepted(desk.gateway.admin.get(f"/models/{desk.model}"))["warnings"]
    assert [first.name in warning for warning in warnings] == [True]


def test_a_server_without_the_responses_api_takes_no_share_of_it(desk: Desk) -> None:
    old = desk.failing(error_script(404), "old", provider_type="vllm")
    new = desk.provider("new", provider_type="openai")
    body = {"model": desk.model, "input": "hello"}
    for _ in range(8):
        assert desk.gateway.post("/v1/responses", desk.key, json=body).status_code == 200
    assert len(old.calls) == 1
    assert len(new.calls) == 8


def test_the_404_is_told_when_no_provider_has_the_model(desk: Desk) -> None:
    lanes = [desk.failing(error_script(404), "one"), desk.failing(error_script(404), "two")]
    for _ in range(2):
        answer = desk.chat()
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
        assert answer.headers["x-llm-gateway-attempts"] == "2"
    assert [len(lane.chats) for lane in lanes] == [2, 2]
