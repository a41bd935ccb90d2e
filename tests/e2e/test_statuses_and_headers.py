"""What crosses the gateway in headers (C41), the prefix (C3), and the statuses of its own refusals (C37)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.e2e.conftest import Desk
from tests.e2e.gateway_process import eventually
from tests.fakes.script import Script, error_script, script

STORE_MATTERS = False

_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
# What the gateway may say to a client on a chat reply.
_TO_CLIENT = {
    "content-type", "content-length", "transfer-encoding", "date", "connection", "cache-control",
    "x-accel-buffering", "x-request-id", "x-llm-gateway-model", "x-llm-gateway-attempts", "retry-after",
    "x-should-retry", "vary",
}  # fmt: skip
# What an OpenAI-type provider needs to hear.
_TO_UPSTREAM = {
    "host", "content-type", "content-length", "accept", "accept-encoding", "connection", "user-agent",
    "authorization", "x-request-id", "traceparent", "tracestate", "idempotency-key", "openai-beta",
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("refused", [False, True])
def test_c41_headers_to_the_client(desk: Desk, stream: bool, refused: bool) -> None:
    lane = desk.provider()
    odd = {
        "x-upstream-id": "u-1",
        "openai-processing-ms": "12",
        "x-provider": lane.name,
        "via": "1.1 upstream",
    }
    lane.default = error_script(400) if refused else Script()
    lane.default.headers = odd
    answer = desk.chat(stream=stream)
    assert answer.status_code == (400 if refused else 200)
    names = set(answer.headers)
    assert names <= _TO_CLIENT, names - _TO_CLIENT
    everything = str(answer.headers) + answer.text
    for hidden in (lane.name, "req_fake", "u-1", "org-fake", "127.0.0.1"):
        assert hidden not in str(answer.headers), hidden
    assert lane.base_url not in everything
    assert answer.headers["content-type"].startswith(
        "text/event-stream" if stream and not refused else "application/json"
    )


def test_c41_headers_to_the_upstream(desk: Desk) -> None:
    lane = desk.provider(api_key="sk-the-providers")
    sent = {
        "cookie": "session=1", "x-forwarded-for": "10.1.1.1", "x-goog-api-key": "abc", "openai-organization": "org-1",
        "x-custom": "y", "referer": "http://inside", "origin": "http://inside", "traceparent": "00-1-2-01",
        "idempotency-key": "once-1", "accept": "text/odd", "x-request-id": "clients-own-id", "te": "trailers",
        "proxy-authorization": "Basic abc", "x-stainless-lang": "python", "forwarded": "for=1.2.3.4",
    }  # fmt: skip
    answer = desk.gateway.post("/v1/chat/completions", desk.key, json=desk.body(), headers=sent)
    assert answer.status_code == 200
    got = lane.last.headers
    names = {name for name, _ in got}
    assert names <= _TO_UPSTREAM, names - _TO_UPSTREAM
    assert len(names) == len(got), "a header went twice"
    assert lane.last.header("authorization") == "Bearer sk-the-providers"
    assert lane.last.header("traceparent") == "00-1-2-01"
    assert lane.last.header("x-request-id") == answer.headers["x-request-id"]
    assert desk.key not in str(got)


def test_c41_request_id_is_our_own(desk: Desk) -> None:
    desk.provider()
    mine = "11111111-1111-7111-8111-111111111111"
    answers = [
        desk.gateway.post("/v1/chat/completions", desk.key, json=desk.body(), headers={"x-request-id": mine})
        for _ in range(2)
    ]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 2
    assert mine not in ids
    assert all(_UUID7.fullmatch(one) for one in ids)


@pytest.mark.parametrize(
    "path", ["/health", "/v1/models", "/nowhere", "/admin/v1/providers", "/docs", "/metrics"]
)
def test_every_response_has_a_request_id(desk: Desk, path: str) -> None:
    assert _UUID7.fullmatch(desk.gateway.http.get(path).headers["x-request-id"])


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER   {}"])
def test_c37_bearer_in_any_case(desk: Desk, form: str) -> None:
    desk.provider()
    headers = {"authorization": form.format(desk.key)}
    answer = desk.gateway.http.post("/v1/chat/completions", headers=headers, json=desk.body())
    assert answer.status_code == 200


@pytest.mark.parametrize("form", ["{}", "Basic {}", "Bearer", "Bearer{}", "Bearer {} x"])
def test_c37_other_authorizations_are_refused(desk: Desk, form: str) -> None:
    desk.provider()
    headers = {"authorization": form.format(desk.key)}
    answer = desk.gateway.http.post("/v1/chat/completions", headers=headers, json=desk.body())
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_s4_19_s4_35_to_37_prefix(strict_desk: Desk) -> None:
    desk, lane = strict_desk, strict_desk.provider()
    for sent in (f"Proxy/{desk.model}", desk.model):
        answer = desk.chat(model=sent)
        assert answer.status_code == 200
        assert lane.last.json["model"] == desk.upstream_model
        assert answer.headers["x-llm-gateway-model"] == desk.model
        row = desk.gateway.usage_row(answer.headers["x-request-id"])
        assert row["model"] == desk.model
    for sent in (
        f"Other/{desk.model}",
        f"proxy/{desk.model}",
        f"Proxy/Proxy/{desk.model}",
        f"Proxy{desk.model}",
    ):
        assert desk.chat(model=sent).status_code == 404


def test_c37_prefix_is_off_before_permission_and_metrics(strict_desk: Desk) -> None:
    desk = strict_desk
    desk.provider()
    key = desk.credential("-narrow", allowed_models=[desk.model])
    answer = desk.gateway.post("/v1/chat/completions", key, json=desk.body(model=f"Proxy/{desk.model}"))
    assert answer.status_code == 200
    assert desk.gateway.metrics("llm_proxy_requests_total", model=desk.model) == 1
    assert desk.gateway.metrics("llm_proxy_requests_total", model=f"Proxy/{desk.model}") == 0


def test_s4_34_no_prefix_set_leaves_names_alone(desk: Desk) -> None:
    name = f"Proxy/name-{desk.number}"
    lane = desk.provider(model_mapping={name: name})
    assert desk.chat(model=name).status_code == 200
    assert lane.last.json["model"] == name


@pytest.mark.parametrize("stream", [False, True])
def test_c37_timeout_is_504(strict_desk: Desk, stream: bool) -> None:
    lane = strict_desk.failing(Script(delay=30))
    answer = strict_desk.chat(stream=stream)
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "upstream_timeout"
    lane.wait(lambda calls: calls[-1].left)


def test_c39_timeout_never_bounds_a_streams_length(strict_desk: Desk) -> None:
    strict_desk.provider()
    plan = script(pieces=["w "] * 12, gap=0.12)
    text = strict_desk.chat(stream=True, fake=plan).text
    assert text.rstrip().endswith("data: [DONE]")


def test_c39_timeout_bounds_a_streams_gaps(strict_desk: Desk) -> None:
    lane = strict_desk.failing(Script(fault="stall", fault_at=3))
    answer = strict_desk.chat(stream=True)
    assert answer.status_code == 200
    assert "[DONE]" not in answer.text
    last = answer.text.rstrip().rsplit("data: ", 1)[1]
    assert '"upstream_timeout"' in last
    lane.wait(lambda calls: calls[-1].left)
    row = strict_desk.gateway.usage_row(answer.headers["x-request-id"])
    assert (row["outcome"], row["error_type"]) == ("error", "upstream_timeout")


def test_design_4_5_slow_thinkers_do_not_look_dead(strict_desk: Desk) -> None:
    """Events without content are held for COMMIT_HOLD, then sent on although no content has come."""
    lane = strict_desk.failing(Script(gap=0.35, text="at last"))
    headers = {"authorization": f"Bearer {strict_desk.key}"}
    body = strict_desk.body(stream=True)
    with strict_desk.gateway.http.stream(
        "POST", "/v1/chat/completions", headers=headers, json=body
    ) as answer:
        parts = answer.iter_text()
        early = next(parts)
        assert '"role":"assistant"' in early
        assert bytes(lane.last.sent).count(b"data: ") == 1, "it came before there was any content"
        text = early + "".join(parts)
    assert text.rstrip().endswith("data: [DONE]")
    assert len(lane.chats) == 1


def test_s0_21_c39_max_concurrency_is_503(launch: Any, fake: Any) -> None:
    gateway = launch(MAX_CONCURRENCY=2)
    desk = Desk(gateway, fake)
    lane = desk.failing(Script(pieces=("w ",) * 400, gap=0.02))
    headers = {"authorization": f"Bearer {desk.key}"}

    def start() -> Any:
        request = gateway.http.build_request(
            "POST", "/v1/chat/completions", headers=headers, json=desk.body(stream=True)
        )
        return gateway.http.send(request, stream=True)

    streams = [start(), start()]
    refused = desk.chat()
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "overloaded"
    assert int(refused.headers["retry-after"]) >= 1
    assert gateway.http.get("/health").status_code == 200, "ops paths do not count"
    for stream in streams:
        stream.close()
    lane.wait(lambda calls: all(call.left for call in calls))
    lane.default = Script()
    eventually(desk.chat, lambda answer: answer.status_code == 200)
