"""Metrics keep S4's names and add up, also with two workers; the access log has one JSON line a request."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import accepted_text, eventually
from tests.fakes.script import Script, error_script
from tests.fakes.upstream import FakeUpstream

# S4.50 to S4.55: the metric, its type and the labels its samples must have.
METRICS = {
    "llm_proxy_requests_total": ("counter", {"method", "endpoint", "model", "provider", "status_code"}),
    "llm_proxy_request_duration_seconds": ("histogram", {"method", "endpoint", "model", "provider"}),
    "llm_proxy_active_requests": ("gauge", set()),
    "llm_proxy_tokens_total": ("counter", {"model", "provider", "token_type"}),
    "llm_proxy_provider_health": ("gauge", {"provider"}),
    "llm_proxy_provider_latency_seconds": ("histogram", {"provider"}),
}


def check_names(desk: Desk) -> None:
    text = accepted_text(desk.gateway.http.get("/metrics"))
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name, (kind, labels) in METRICS.items():
        family = families[name.removesuffix("_total")]
        assert family.type == kind, name
        for sample in family.samples:
            assert labels <= set(sample.labels) | {"le"}, sample


def test_s4_50_to_55_names_types_and_labels(desk: Desk) -> None:
    desk.provider()
    desk.chat()
    check_names(desk)


def test_s4_50_to_55_names_types_and_labels_of_two_workers(pair_desk: Desk) -> None:
    pair_desk.provider()
    pair_desk.chat()
    check_names(pair_desk)


def check_counts(desk: Desk) -> None:
    """Send a known load and find exactly that in the metrics, with every worker's share."""
    lane = desk.provider()
    lane.next.extend([error_script(400)] * 3)
    model = desk.model

    async def load() -> list[int]:
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(limits=limits, trust_env=False, verify=False, timeout=20) as client:
            url, headers = (
                f"{desk.gateway.origin}/v1/chat/completions",
                {"authorization": f"Bearer {desk.key}"},
            )
            asked = [client.post(url, headers=headers, json=desk.body(stream=bool(n % 2))) for n in range(40)]
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    statuses = asyncio.run(load())
    assert (statuses.count(200), statuses.count(400)) == (37, 3)
    # Counted before the reply's end is sent: no waiting here.
    metrics = desk.gateway.metrics_page()
    total = "llm_proxy_requests_total"
    assert metrics(total, model=model, provider=lane.name, status_code="200", method="POST") == 37
    assert metrics(total, model=model, status_code="400", endpoint="/v1/chat/completions") == 3
    assert metrics("llm_proxy_tokens_total", model=model, token_type="prompt") == 37 * 9
    assert metrics("llm_proxy_tokens_total", model=model, token_type="completion") == 37 * 4
    assert metrics("llm_proxy_request_duration_seconds_count", model=model) == 40
    assert metrics("llm_proxy_request_duration_seconds_bucket", model=model, le="+Inf") == 40
    assert metrics("llm_proxy_provider_latency_seconds_count", provider=lane.name) == 37
    assert metrics("llm_proxy_provider_health", provider=lane.name) == 1
    rows = desk.gateway.usage_rows(model=model)
    assert len(rows) == 40
    assert sum(row["total_tokens"] or 0 for row in rows) == 37 * 13


def test_s4_5_s4_29_metrics_add_up(desk: Desk) -> None:
    check_counts(desk)


def test_s4_5_c7_metrics_add_up_over_two_workers(pair_desk: Desk) -> None:
    check_counts(pair_desk)


def test_s4_52_active_requests(desk: Desk) -> None:
    lane = desk.failing(Script(pieces=("w ",) * 200, gap=0.05))
    headers = {"authorization": f"Bearer {desk.key}"}

    def active() -> float:
        return desk.gateway.metrics("llm_proxy_active_requests")

    resting = active()
    with desk.gateway.http.stream(
        "POST", "/v1/chat/completions", headers=headers, json=desk.body(stream=True)
    ):
        assert active() == resting + 1
    lane.wait(lambda calls: calls[0].left)
    eventually(active, lambda value: value == resting)


def test_s4_54_provider_health(desk: Desk) -> None:
    lane = desk.failing(error_script(500))
    desk.chat()
    assert desk.gateway.metrics("llm_proxy_provider_health", provider=lane.name) == 0
    lane.default = Script()
    desk.chat()
    assert desk.gateway.metrics("llm_proxy_provider_health", provider=lane.name) == 1


def test_design_4_12_junk_names_make_no_labels(desk: Desk) -> None:
    desk.provider()
    for number in range(30):
        assert desk.chat(model=f"junk-{desk.number}-{number}").status_code == 404
    assert "junk-" not in desk.gateway.http.get("/metrics").text
    assert desk.gateway.metrics("llm_proxy_requests_total", model="other", status_code="404") >= 30


def test_metrics_hold_no_secret(desk: Desk) -> None:
    desk.provider(api_key="sk-in-no-metric")
    desk.chat()
    text = desk.gateway.http.get("/metrics").text
    assert "sk-" not in text
    assert "127.0.0.1" not in text


def test_s4_9_s4_28_c38_detailed_health_tests_all_providers(desk: Desk) -> None:
    good, bad = desk.provider("good"), desk.provider("bad")
    bad.models_script = error_script(500)
    off = desk.provider("off", is_enabled=False)
    answer = desk.gateway.http.get("/health/detailed")
    assert answer.status_code == 200
    providers = answer.json()["providers"]
    assert providers[good.name]["status"] == "healthy"
    assert set(providers[good.name]) == {"status", "latency_ms", "checked_at", "error"}
    assert providers[bad.name]["status"] == "unhealthy"
    assert providers[bad.name]["error"]
    assert off.name not in providers
    assert f"Provider '{bad.name}' is unhealthy." in answer.json()["problems"]
    assert answer.json()["process"]["stale_workers"] == []
    assert 0 < answer.json()["process"]["open_files_used_ratio"] < 1
    assert "sk-" not in answer.text
    assert "127.0.0.1" not in answer.text
    # Cached for 5 s, and asked with the provider's key.
    before = len(good.calls)
    assert desk.gateway.http.get("/health/detailed").status_code == 200
    assert len(good.calls) == before
    assert good.calls[-1].header("authorization") == "Bearer sk-upstream-secret"


@pytest.mark.parametrize("stream", [False, True])
def test_s3_4_s3_29_access_log_has_one_line_a_request(desk: Desk, stream: bool) -> None:
    lane = desk.provider()
    answer = desk.chat(stream=stream, messages=[{"role": "user", "content": "a private matter"}])
    line = desk.gateway.access_line(answer.headers["x-request-id"])
    row = desk.gateway.usage_row(answer.headers["x-request-id"])
    for name in (
        "model",
        "provider",
        "outcome",
        "prompt_tokens",
        "completion_tokens",
        "stream",
        "status_code",
    ):
        assert line[name] == row[name], name
    assert line["provider"] == lane.name
    whole = desk.gateway.stdout.read_text()
    assert "a private matter" not in whole
    assert desk.key not in whole


def test_access_log_tells_of_refusals(desk: Desk) -> None:
    answer = desk.gateway.post("/v1/chat/completions", "sk-wrong-key", json=desk.body())
    line = desk.gateway.access_line(answer.headers["x-request-id"])
    assert (line["status_code"], line["outcome"]) == (401, "rejected")
    assert "sk-wrong-key" not in desk.gateway.stdout.read_text() + desk.gateway.stderr.read_text()


@pytest.mark.parametrize(("level", "expected"), [("off", []), ("errors", [404])])
def test_access_log_can_be_less(launch: Launch, fake: FakeUpstream, level: str, expected: list[int]) -> None:
    gateway = launch(ACCESS_LOG=level)
    desk = Desk(gateway, fake)
    desk.provider()
    assert desk.chat().status_code == 200
    assert desk.chat(model="none").status_code == 404
    assert gateway.stop() == 0
    assert [line["status_code"] for line in gateway.access_lines()] == expected


def test_c30_ops_token(launch: Launch) -> None:
    gateway = launch(OPS_TOKEN="sesame")
    http = gateway.http
    assert http.get("/health").status_code == 200
    for path in ("/health/detailed", "/metrics", "/docs", "/openapi.json"):
        assert http.get(path).status_code == 401, path
        assert http.get(path, headers={"authorization": "Bearer sesame"}).status_code == 200, path


@pytest.mark.parametrize("path", ["/metrics", "/health/detailed", "/openapi.json"])
def test_strangers_that_poll_do_not_slow_chats(launch: Launch, fake: FakeUpstream, path: str) -> None:
    gateway = launch()
    desk = Desk(gateway, fake)
    desk.provider(model_mapping={f"m{number}": "up" for number in range(80)})
    # Many series make a page that takes long to render.
    for number in range(80):
        gateway.post("/v1/chat/completions", desk.key, json=desk.body(model=f"m{number}"))
    assert gateway.http.get(path).status_code == 200
    stop = threading.Event()
    pages: list[int] = []

    def poll() -> None:
        with httpx.Client(base_url=gateway.origin, trust_env=False, verify=False, timeout=15) as client:
            while not stop.is_set():
                pages.append(client.get(path).status_code)

    pollers = [threading.Thread(target=poll, daemon=True) for _ in range(8)]
    for poller in pollers:
        poller.start()
    try:
        times = []
        for _ in range(30):
            begun = time.monotonic()
            assert desk.chat(model="m1").status_code == 200
            times.append(time.monotonic() - begun)
    finally:
        stop.set()
    for poller in pollers:
        poller.join(15)
    assert set(pages) == {200}
    assert sorted(times)[len(times) // 2] < 0.5


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", ["deleted", "disabled"])
def test_gauges_of_a_provider_that_is_gone_are_gone(
    launch: Launch, fake: FakeUpstream, workers: int, how: str
) -> None:
    gateway = launch(WORKERS=workers)
    desk = Desk(gateway, fake)
    desk.failing(error_script(500), "bad", weight=10_000)
    desk.provider("good")
    for number in range(40):
        desk.chat(messages=[{"role": "user", "content": str(number)}])
    gauges = ("llm_proxy_provider_health", "llm_gateway_open_breakers")

    def shown() -> set[str]:
        text = accepted_text(gateway.http.get("/metrics"))
        return {line.split("{")[1] for line in text.splitlines() if line.startswith(gauges)}

    eventually(shown, lambda lines: any('"bad' in line for line in lines))
    [bad] = {line.split('"')[1] for line in shown() if '"bad' in line}
    if how == "deleted":
        accepted_text(gateway.admin.delete(f"/providers/{bad}"))
    else:
        accepted_text(gateway.admin.patch(f"/providers/{bad}", json={"is_enabled": False}))
    for _ in range(6):
        assert not any(bad in line for line in shown())
    assert any('"good' in line for line in shown())
    if how == "disabled":
        # The forgotten value does not come back with the provider.
        time.sleep(1.5)
        accepted_text(gateway.admin.patch(f"/providers/{bad}", json={"is_enabled": True}))
        assert not any(bad in line and "health" in line for line in shown())


def check_summary(desk: Desk) -> None:
    """The JSON summary says the same as Prometheus' text, over all workers."""
    lane = desk.provider()
    lane.next.extend([error_script(400)] * 3)
    for _ in range(12):
        desk.gateway.close_clients()
        desk.chat()
    answer = desk.gateway.http.get("/metrics", headers={"accept": "application/json"})
    shown = answer.json()
    page = desk.gateway.metrics_page()
    assert answer.headers["content-type"] == "application/json"
    assert shown["uptime_seconds"] > 0
    assert shown["active_requests"] == 0
    [row] = [one for one in shown["models"] if one["model"] == desk.model]
    assert (row["provider"], row["requests"], row["errors"]) == (lane.name, 12, 3)
    assert row["requests_by_status"] == {"2xx": 9, "4xx": 3}
    assert row["tokens"]["prompt"] == page("llm_proxy_tokens_total", model=desk.model, token_type="prompt")
    assert row["tokens"]["total"] == 9 * 13
    assert 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p95"] <= row["latency_ms"]["p99"]
    assert row["latency_ms"]["mean"] > 0
    assert row["llm_latency_ms"]["mean"] > 0
    assert [one["requests"] for one in shown["providers"] if one["provider"] == lane.name] == [12]
    assert shown["requests"] == sum(shown["requests_by_status"].values()) >= 12
    # Prometheus, browsers and curl get the text.
    for accept in ("*/*", "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", "text/html,*/*;q=0.8"):
        text = desk.gateway.http.get("/metrics", headers={"accept": accept})
        assert text.headers["content-type"].startswith("text/plain")
        assert "llm_proxy_requests_total" in text.text


def test_c20_s0_37_metrics_as_json(desk: Desk) -> None:
    check_summary(desk)


def test_c20_s0_37_metrics_as_json_add_up_over_two_workers(pair_desk: Desk) -> None:
    check_summary(pair_desk)
