"""SIGTERM: not ready, no new work, open streams finish, the rows are shipped, and the exit is clean."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import PLACES, Desk, Launch
from tests.e2e.gateway_process import GatewayProcess, eventually
from tests.e2e.sql import run_sql
from tests.fakes.script import Script
from tests.fakes.upstream import FakeUpstream


class OpenStream(threading.Thread):
    """A client that reads one stream to its end in a thread."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(daemon=True)
        self.desk = desk
        self.text = ""
        self.request_id = ""
        self.begun = threading.Event()
        self.fault: Exception | None = None

    def run(self) -> None:
        headers = {"authorization": f"Bearer {self.desk.key}"}
        url = self.desk.gateway.origin + "/v1/chat/completions"
        try:
            with (
                httpx.Client(trust_env=False, verify=False, timeout=30) as client,
                client.stream("POST", url, headers=headers, json=self.desk.body(stream=True)) as answer,
            ):
                self.request_id = answer.headers["x-request-id"]
                for part in answer.iter_text():
                    self.text += part
                    self.begun.set()
        except httpx.HTTPError as fault:
            self.fault = fault
            self.begun.set()


def shipped(gateway: GatewayProcess) -> dict[str, str]:
    """Return the outcomes in the store of a gateway that has ended."""
    return {str(row[0]): str(row[1]) for row in run_sql(gateway, "SELECT request_id, outcome FROM usage")}


@pytest.mark.parametrize(("store", "workers"), PLACES)
def test_sigterm_lets_open_streams_finish(
    launch: Launch, fake: FakeUpstream, store: str, workers: int
) -> None:
    gateway = launch(store, WORKERS=workers)
    desk = Desk(gateway, fake)
    lane = desk.failing(Script(pieces=("w ",) * 12, gap=0.1))
    streams = [OpenStream(desk) for _ in range(6)]
    assert desk.key
    for stream in streams:
        stream.start()
    for stream in streams:
        assert stream.begun.wait(10)
        assert stream.fault is None
    gateway.terminate()
    time.sleep(0.3)
    assert gateway.process is not None
    assert gateway.process.poll() is None, "it waits for the open streams"
    for stream in streams:
        stream.join(15)
        assert stream.fault is None, gateway.log()
        assert stream.text.rstrip().endswith("data: [DONE]")
        assert stream.text.count('"w "') == 12
    assert gateway.wait() == 0
    assert gateway.distress() == [], gateway.log()
    assert shipped(gateway) == {stream.request_id: "ok" for stream in streams}
    assert len(lane.chats) == 6


def test_sigterm_takes_no_new_work(launch: Launch, fake: FakeUpstream) -> None:
    gateway = launch()
    desk = Desk(gateway, fake)
    lane = desk.failing(Script(pieces=("w ",) * 12, gap=0.1))
    stream = OpenStream(desk)
    assert desk.key
    # A connection of before stays usable, for being told to go elsewhere.
    with httpx.Client(base_url=gateway.origin, trust_env=False, verify=False, timeout=5) as old:
        assert old.get("/health/ready").status_code == 200
        stream.start()
        assert stream.begun.wait(10)
        gateway.terminate()

        def not_ready() -> Any:
            return old.get("/health/ready")

        answer = eventually(not_ready, lambda answer: answer.status_code == 503, 3)
        assert answer.json()["status"] != "ready"
    headers = {"authorization": f"Bearer {desk.key}"}
    try:
        refused = httpx.post(
            gateway.origin + "/v1/chat/completions",
            headers=headers,
            json=desk.body(),
            trust_env=False,
            verify=False,
        )
    except httpx.TransportError:
        pass
    else:
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "draining"
    stream.join(15)
    assert stream.text.rstrip().endswith("data: [DONE]")
    assert gateway.wait() == 0
    assert len(lane.chats) == 1


def test_drain_timeout_bounds_the_wait(launch: Launch, fake: FakeUpstream) -> None:
    gateway = launch(DRAIN_TIMEOUT=0.5)
    desk = Desk(gateway, fake)
    lane = desk.failing(Script(pieces=("w ",) * 10_000, gap=0.1))
    stream = OpenStream(desk)
    assert desk.key
    stream.start()
    assert stream.begun.wait(10)
    gateway.terminate()
    gateway.wait(10)
    stream.join(10)
    assert "[DONE]" not in stream.text, "a stream that we cut has no clean end"
    lane.wait(lambda calls: calls[0].left)
    outcomes = shipped(gateway)
    assert set(outcomes) == {stream.request_id}
    assert outcomes[stream.request_id] in {"error", "aborted", "interrupted"}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_restart_keeps_everything(launch: Launch, fake: FakeUpstream, workers: int) -> None:
    gateway = launch(WORKERS=workers)
    desk = Desk(gateway, fake)
    lane = desk.provider()
    first = desk.chat()
    version = gateway.config_version()
    assert gateway.stop() == 0
    gateway.start()
    assert gateway.config_version() == version
    assert desk.chat().status_code == 200
    assert lane.last.header("authorization") == "Bearer sk-upstream-secret"
    assert gateway.usage_row(first.headers["x-request-id"])["outcome"] == "ok"


def test_sigterm_with_nothing_open_is_quick(launch: Launch) -> None:
    gateway = launch(DRAIN_TIMEOUT=300)
    with httpx.Client(base_url=gateway.origin, trust_env=False, verify=False) as idle:
        # An idle keep-alive connection holds nothing up.
        assert idle.get("/health").status_code == 200
        gateway.terminate()
        assert gateway.wait(15) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_reloads_the_configuration_and_cuts_no_stream(
    launch: Launch, fake: FakeUpstream, workers: int
) -> None:
    gateway = launch(WORKERS=workers)
    desk = Desk(gateway, fake)
    desk.failing(Script(pieces=("w ",) * 12, gap=0.1))
    assert desk.key
    stream = OpenStream(desk)
    stream.start()
    assert stream.begun.wait(10)
    line = f"Configuration version {gateway.config_version()} is in force"
    before = gateway.stderr.read_text().count(line)
    os.killpg(gateway.pid, signal.SIGHUP)
    eventually(lambda: gateway.stderr.read_text().count(line), lambda count: count >= before + workers)
    stream.join(15)
    assert stream.text.rstrip().endswith("data: [DONE]")
    assert gateway.stop() == 0
