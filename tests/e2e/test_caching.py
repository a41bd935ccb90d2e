"""Replies that are sent again: miss and hit by OpenAI's SDK, for whom, on whose word, and what rows say (C40)."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.conftest import Services
from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import eventually
from tests.fakes.script import Script, script
from tests.fakes.upstream import FakeUpstream
from tests.services import fresh_database

CACHE = "x-llm-gateway-cache"
ON = {CACHE: "on"}
MESSAGES: Any = [{"role": "user", "content": "hello"}]


def row_of(desk: Desk, headers: Any) -> dict[str, Any]:
    return desk.gateway.usage_row(headers["x-request-id"])


def test_s2_20_s3_5_a_whole_reply_is_a_miss_and_then_a_hit(desk: Desk) -> None:
    lane = desk.provider()
    asked = [
        desk.sdk.chat.completions.with_raw_response.create(
            model=desk.model, messages=MESSAGES, extra_headers=ON
        )
        for _ in range(3)
    ]
    assert [one.headers[CACHE] for one in asked] == ["miss", "hit", "hit"]
    assert len(lane.chats) == 1
    assert len({one.text for one in asked}) == 1
    assert asked[2].parse().choices[0].message.content == f"{lane.name} says: hello"
    assert "age" not in asked[0].headers
    assert int(asked[1].headers["age"]) >= 0
    assert asked[1].headers["x-llm-gateway-model"] == desk.model
    # The header is between the client and the gateway.
    assert lane.last.header(CACHE) is None
    made, hit, _ = (row_of(desk, one.headers) for one in asked)
    assert (made["cache_hit"], made["attempts"]) == (False, 1)
    assert (hit["cache_hit"], hit["attempts"], hit["upstream_latency_ms"]) == (True, 0, None)
    for name in ("outcome", "provider", "upstream_model", "total_tokens", "cached_tokens", "usage_source"):
        assert hit[name] == made[name], name


@pytest.mark.parametrize("usage", [False, True])
def test_a_stream_is_a_miss_and_then_a_hit(desk: Desk, usage: bool) -> None:
    lane = desk.provider()
    options: Any = {"stream_options": {"include_usage": True}} if usage else {}
    seen = []
    for expected in ("miss", "hit"):
        raw = desk.sdk.chat.completions.with_raw_response.create(
            model=desk.model, messages=MESSAGES, stream=True, extra_headers=ON, **options
        )
        assert raw.headers[CACHE] == expected
        chunks = [chunk.model_dump() for chunk in raw.parse()]
        assert any(chunk.get("usage") for chunk in chunks) is usage
        seen.append(chunks)
        row = row_of(desk, raw.headers)
        assert (row["cache_hit"], row["outcome"], row["total_tokens"]) == (expected == "hit", "ok", 13)
        assert row["ttft_ms"] is not None
    assert seen[0] == seen[1]
    assert len(lane.chats) == 1


def test_the_bytes_of_a_hit_are_those_of_the_miss(desk: Desk) -> None:
    desk.provider()
    for fields in ({"stream": True}, {"stream": False}):
        answers = [
            desk.gateway.post(
                "/v1/chat/completions", desk.key, json=desk.body(temperature=0, **fields), headers=ON
            )
            for _ in range(2)
        ]
        assert answers[0].content == answers[1].content
        assert answers[0].headers["content-type"] == answers[1].headers["content-type"]
        rows = [row_of(desk, answer.headers) for answer in answers]
        assert rows[0]["response_bytes"] == rows[1]["response_bytes"] == len(answers[1].content)


def test_credentials_are_apart(desk: Desk) -> None:
    lane = desk.provider()
    for suffix in ("-one", "-two"):
        key = desk.credential(suffix)
        said = [
            desk.gateway.post("/v1/chat/completions", key, json=desk.body(), headers=ON).headers[CACHE]
            for _ in range(2)
        ]
        assert said == ["miss", "hit"]
    assert len(lane.chats) == 2


def test_c40_a_header_says_what_is_done_and_nothing_is_done_without(desk: Desk) -> None:
    lane = desk.provider()
    steps = (
        (None, None), (None, None), ("on", "miss"), ("ON", "hit"), ("off", "bypass"), ("bypass", "bypass"),
        ("refresh", "miss"), ("on", "hit"), (None, None),
    )  # fmt: skip
    for wish, expected in steps:
        headers = {} if wish is None else {CACHE: wish}
        answer = desk.gateway.post(
            "/v1/chat/completions", desk.key, json=desk.body(temperature=0), headers=headers
        )
        assert answer.headers.get(CACHE) == expected, wish
    assert len(lane.chats) == 7
    refused = desk.gateway.post("/v1/chat/completions", desk.key, json=desk.body(), headers={CACHE: "maybe"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")


def test_a_changed_mapping_is_in_force_at_once(desk: Desk) -> None:
    lane = desk.provider()
    assert [chat_on(desk).headers[CACHE] for _ in range(2)] == ["miss", "hit"]
    answer = desk.gateway.admin.patch(
        f"/providers/{lane.name}", json={"model_mapping": {desk.model: "another"}}
    )
    assert answer.status_code == 200
    assert chat_on(desk).headers[CACHE] == "miss"
    assert lane.last.json["model"] == "another"
    desk.gateway.admin.patch(f"/providers/{lane.name}", json={"weight": 5})
    assert chat_on(desk).headers[CACHE] == "hit"


def chat_on(desk: Desk, **fields: Any) -> httpx.Response:
    answer: httpx.Response = desk.gateway.post(
        "/v1/chat/completions", desk.key, json=desk.body(**fields), headers=ON
    )
    assert answer.status_code == 200, answer.text
    return answer


async def test_fifty_who_ask_the_same_at_once_share_one_call(desk: Desk) -> None:
    lane = desk.provider()
    async with httpx.AsyncClient(
        base_url=desk.gateway.origin, trust_env=False, verify=False, timeout=20
    ) as client:
        headers = {"authorization": f"Bearer {desk.key}", **ON}
        body = desk.body(fake=script(delay=1.0))
        answers = await asyncio.gather(
            *(client.post("/v1/chat/completions", headers=headers, json=body) for _ in range(50))
        )
    assert len(lane.chats) == 1
    assert Counter(answer.headers[CACHE] for answer in answers) == {"miss": 1, "hit": 49}
    assert len({answer.content for answer in answers}) == 1
    rows = [row_of(desk, answer.headers) for answer in answers]
    assert Counter((row["cache_hit"], row["attempts"]) for row in rows) == {(False, 1): 1, (True, 0): 49}


async def test_when_the_first_client_leaves_another_asks_again(desk: Desk) -> None:
    lane = desk.provider()
    # The first answer never comes: a page of metrics may take a second here, and nothing may end before it is read.
    lane.next.append(Script(fault="stall"))
    async with httpx.AsyncClient(
        base_url=desk.gateway.origin, trust_env=False, verify=False, timeout=20
    ) as client:
        headers = {"authorization": f"Bearer {desk.key}", **ON}
        body = desk.body()

        def ask() -> asyncio.Task[httpx.Response]:
            return asyncio.create_task(client.post("/v1/chat/completions", headers=headers, json=body))

        first = ask()
        await asyncio.to_thread(eventually, lambda: len(lane.chats), lambda count: count == 1)
        others = [ask() for _ in range(5)]
        # They are with the gateway, and none of them is with the provider.
        open_requests = "llm_proxy_active_requests"
        await asyncio.to_thread(
            eventually, lambda: desk.gateway.metrics(open_requests), lambda count: count == 6
        )
        first.cancel()
        answers = await asyncio.gather(*others)
    assert Counter(answer.headers[CACHE] for answer in answers) == {"miss": 1, "hit": 4}
    assert len(lane.chats) == 2
    assert lane.chats[0].left


def test_the_rate_limit_holds_for_hits(desk: Desk) -> None:
    desk.provider()
    key = desk.credential("-limited", rate_limit=3)
    answers = [
        desk.gateway.post("/v1/chat/completions", key, json=desk.body(), headers=ON) for _ in range(10)
    ]
    assert {answer.status_code for answer in answers} == {200, 429}
    left = [one.headers["x-ratelimit-remaining-requests"] for one in answers if one.status_code == 200]
    assert left[:2] == ["2", "1"]


def test_metrics_count_what_came_of_it_and_no_tokens_for_a_hit(desk: Desk) -> None:
    lane = desk.provider()
    before = {
        result: desk.gateway.metrics("llm_gateway_cache_requests_total", result=result)
        for result in ("hit", "miss", "bypass")
    }
    for wish in ("on", "on", "on", "off"):
        desk.gateway.post("/v1/chat/completions", desk.key, json=desk.body(), headers={CACHE: wish})
    after = {
        result: desk.gateway.metrics("llm_gateway_cache_requests_total", result=result) for result in before
    }
    assert {result: after[result] - before[result] for result in before} == {"hit": 2, "miss": 1, "bypass": 1}
    assert desk.gateway.metrics("llm_proxy_tokens_total", model=desk.model, token_type="prompt") == 18
    requests = {
        name: desk.gateway.metrics("llm_proxy_requests_total", model=desk.model, provider=name)
        for name in (lane.name, "none")
    }
    assert requests == {lane.name: 2, "none": 2}


def test_gateways_of_one_database_share_replies_through_redis(
    launch: Launch, fake: FakeUpstream, services: Services, redis_url: str
) -> None:
    with fresh_database(services.url_or_skip("PostgreSQL")) as url:
        one, other = (launch(DB_URL=url, REDIS_URL=redis_url) for _ in range(2))
        desk = Desk(one, fake)
        lane = desk.provider()
        key = desk.key
        assert other.admin.post("/config/reload").status_code == 200
        for stream in (False, True):
            said = [
                gateway.post("/v1/chat/completions", key, json=desk.body(stream=stream), headers=ON).headers[
                    CACHE
                ]
                for gateway in (one, other, one)
            ]
            assert said == ["miss", "hit", "hit"]
        assert len(lane.chats) == 2
        # Another database has credentials with the same ids.
        stranger = launch(REDIS_URL=redis_url)
        stranger.create_provider(
            lane.name, api_base=lane.base_url, model_mapping={desk.model: desk.upstream_model}
        )
        theirs = stranger.create_credential("everybody")
        asked = stranger.post("/v1/chat/completions", theirs, json=desk.body(), headers=ON)
        assert asked.headers[CACHE] == "miss"
        for gateway in (one, other, stranger):
            assert gateway.stop() == 0, gateway.log()
            assert gateway.distress() == [], gateway.log()


def test_without_its_redis_everything_is_a_miss_and_answered(launch: Launch, fake: FakeUpstream) -> None:
    desk = Desk(launch(REDIS_URL="redis://127.0.0.1:1/0"), fake)
    lane = desk.provider()
    assert [chat_on(desk).headers[CACHE] for _ in range(4)] == ["miss"] * 4
    assert len(lane.chats) == 4
    assert desk.gateway.metrics("llm_gateway_cache_failures_total") == 8
    assert desk.gateway.log().count("Reply cache: Redis fails") == 1


def test_embeddings_and_responses_are_kept_too(desk: Desk) -> None:
    lane = desk.provider()
    embeddings = [
        desk.sdk.embeddings.with_raw_response.create(model=desk.model, input="hello", extra_headers=ON)
        for _ in range(2)
    ]
    assert [one.headers[CACHE] for one in embeddings] == ["miss", "hit"]
    assert embeddings[1].text == embeddings[0].text
    create = desk.sdk.responses.with_raw_response.create
    answers = [create(model=desk.model, input="hello", store=False, extra_headers=ON) for _ in range(2)]
    assert [one.headers[CACHE] for one in answers] == ["miss", "hit"]
    assert answers[1].parse().output_text == answers[0].parse().output_text
    events = []
    for expected in ("miss", "hit"):
        raw = create(model=desk.model, input="hello", store=False, stream=True, extra_headers=ON)
        assert raw.headers[CACHE] == expected
        events.append([event.model_dump() for event in raw.parse()])
    assert events[0] == events[1]
    assert events[0][-1]["type"] == "response.completed"
    # It would be stored with the provider, and a hit would not.
    assert create(model=desk.model, input="hello", extra_headers=ON).headers[CACHE] == "bypass"
    assert len(lane.chats) == 4


def test_c40_a_models_and_a_credentials_rules_turn_it_on_and_off(desk: Desk) -> None:
    lane = desk.provider()
    made = desk.gateway.admin.post(
        "/models", json={"name": desk.model, "cache": {"ttl": 60, "is_shared": True}}
    )
    assert made.status_code == 201, made.text
    keys = [desk.credential(f"-{number}") for number in range(2)]
    off = desk.credential("-off", cache={"is_enabled": False})

    def said(key: str, **fields: Any) -> str | None:
        answer = desk.gateway.post("/v1/chat/completions", key, json=desk.body(**fields))
        assert answer.status_code == 200
        value: str | None = answer.headers.get(CACHE)
        return value

    assert [said(key, temperature=0) for key in (*keys, off)] == ["miss", "hit", "bypass"]
    # Without a word on how to choose, the answer may differ each time.
    assert [said(key) for key in keys] == ["bypass", "bypass"]
    assert len(lane.chats) == 4
    answer = desk.gateway.admin.patch(f"/models/{desk.model}", json={"cache": None})
    assert answer.status_code == 200, answer.text
    assert said(keys[0], temperature=0) is None
