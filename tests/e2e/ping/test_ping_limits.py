"""RATE_LIMIT, RETRY_ATTEMPTS and LLM_TIMEOUT with dgen-ping's meaning; `/v1` does not notice them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Launch
from tests.e2e.gateway_process import GatewayProcess
from tests.e2e.ping.conftest import SECRET
from tests.fakes.calls import Lane
from tests.fakes.script import Script, error_script
from tests.fakes.upstream import FakeUpstream


class Caller:
    """A gateway of a test's own, with a provider of the model `m`."""

    def __init__(self, gateway: GatewayProcess, fake: FakeUpstream, providers: int = 1) -> None:
        self.gateway = gateway
        self.lanes: list[Lane] = []
        for number in range(providers):
            lane = fake.lane(f"caller-{id(self)}-{number}")
            gateway.create_provider(f"p{number}", lane.base_url, model_mapping={"m": "m"})
            self.lanes.append(lane)

    def token(self, soeid: str) -> str:
        answer = self.gateway.http.post(
            "/generate-token", json={"soeid": soeid}, headers={"x-token-secret": SECRET}
        )
        made: str = answer.json()["token"]
        return made

    def complete(self, token: str, **fields: Any) -> httpx.Response:
        body = {"prompt": "hello", "model": "m"} | fields
        return self.gateway.http.post("/api/llm/completion", json=body, headers={"x-api-token": token})

    def report(self, token: str) -> httpx.Response:
        return self.gateway.http.post("/telemetry", json={"event_type": "x"}, headers={"x-api-token": token})

    def calls(self) -> int:
        return sum(len(lane.chats) for lane in self.lanes)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_caller_has_the_limit_for_itself_s0_22(launch: Launch, fake: FakeUpstream, workers: int) -> None:
    caller = Caller(launch(TOKEN_SECRET=SECRET, RATE_LIMIT=3, WORKERS=workers), fake)
    ada, bob = caller.token("ada"), caller.token("bob")
    key, other = (caller.gateway.create_credential(name) for name in ("one", "two"))
    for token in (ada, bob, key, other):
        answers = [caller.complete(token) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert answers[0].headers["x-ratelimit-limit-requests"] == "3"
        last = answers[-1]
        assert int(last.headers["retry-after"]) >= 1
        assert last.json()["error"]["code"] == "rate_limit_exceeded"
        assert "3 requests per minute" in last.json()["detail"]
        row = caller.gateway.usage_row(answers[3].headers["x-request-id"])
        assert (row["status_code"], row["outcome"]) == (429, "rejected")
        # Another token of the same user does not help, and another name in the body does not either.
    assert caller.complete(caller.token("ada"), soeid="somebody-else").status_code == 429
    # Events have the limit for themselves, so that a request may be reported.
    events = [caller.report(ada) for _ in range(4)]
    assert [answer.status_code for answer in events] == [200, 200, 200, 429]
    assert events[-1].json()["detail"]
    # `/v1` has no such limit.
    chats = [
        caller.gateway.post(
            "/v1/chat/completions", key, json={"model": "m", "messages": [{"role": "user", "content": "x"}]}
        )
        for _ in range(4)
    ]
    assert [answer.status_code for answer in chats] == [200] * 4


def test_a_limit_of_0_rejects_all(launch: Launch, fake: FakeUpstream) -> None:
    caller = Caller(launch(TOKEN_SECRET=SECRET, RATE_LIMIT=0), fake)
    answer = caller.complete(caller.token("ada"))
    assert answer.status_code == 429
    assert answer.headers["x-should-retry"] == "false"
    assert caller.report(caller.token("ada")).status_code == 429


@pytest.mark.parametrize(("attempts", "providers"), [(1, 1), (3, 1), (1, 2), (2, 3), (3, 2)])
def test_there_are_so_many_attempts_in_all_s0_8_s0_25(
    launch: Launch, fake: FakeUpstream, attempts: int, providers: int
) -> None:
    gateway = launch(
        TOKEN_SECRET=SECRET, RETRY_ATTEMPTS=attempts, MAX_RETRIES=0, INITIAL_BACKOFF=1, MAX_BACKOFF=2
    )
    caller = Caller(gateway, fake, providers)
    for lane in caller.lanes:
        lane.default = error_script(503)
    answer = caller.complete(caller.token("ada"))
    assert answer.status_code == 503
    assert caller.calls() == attempts
    assert gateway.usage_row(answer.headers["x-request-id"])["attempts"] == attempts


def test_another_provider_answers_in_place_of_one_that_fails_s0_8(launch: Launch, fake: FakeUpstream) -> None:
    caller = Caller(launch(TOKEN_SECRET=SECRET, INITIAL_BACKOFF=1), fake, 2)
    caller.lanes[0].default = error_script(500)
    caller.lanes[1].default = Script(text="here")
    token = caller.token("ada")
    for stream in (False, True, False):
        answer = caller.complete(token, stream=stream)
        assert answer.status_code == 200
        assert "ere" in answer.text


def test_the_answer_names_the_model_that_gave_it_s0_8(launch: Launch, fake: FakeUpstream) -> None:
    caller = Caller(launch(TOKEN_SECRET=SECRET, INITIAL_BACKOFF=1), fake)
    caller.lanes[0].default = error_script(503)
    other = fake.lane("caller-fallback")
    other.default = Script(text="from the other")
    caller.gateway.create_provider("q", other.base_url, model_mapping={"n": "n"})
    caller.gateway.admin.post("/models", json={"name": "m", "fallbacks": ["n"]}).raise_for_status()
    answer = caller.complete(caller.token("ada"))
    assert (answer.json()["model"], answer.json()["completion"]) == ("n", "from the other")


def test_a_provider_that_is_slow_is_504_s0_24(launch: Launch, fake: FakeUpstream) -> None:
    caller = Caller(launch(TOKEN_SECRET=SECRET, LLM_TIMEOUT=0.5, RETRY_ATTEMPTS=1), fake)
    caller.lanes[0].default = Script(delay=5)
    for stream in (False, True):
        answer = caller.complete(caller.token("ada"), stream=stream)
        assert answer.status_code == 504, answer.text
        assert answer.json()["error"]["code"] == "upstream_timeout"
        row = caller.gateway.usage_row(answer.headers["x-request-id"])
        assert (row["status_code"], row["response_bytes"]) == (504, len(answer.content))
