"""HOST, PORT, WORKERS, DEBUG and LOG_LEVEL mean what they mean in the reference systems."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import GatewayProcess, eventually
from tests.fakes.upstream import FakeUpstream


def _status(origin: str) -> int | None:
    try:
        return httpx.get(f"{origin}/health", timeout=5, trust_env=False).status_code
    except httpx.TransportError:
        return None


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_s0_19_host_is_the_address_that_is_listened_on(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, HOST="127.0.0.2")
    gateway.launch()
    try:
        there = f"http://127.0.0.2:{gateway.port}"
        assert eventually(lambda: _status(there), lambda status: status is not None, 30) == 200
        assert _status(gateway.origin) is None
        assert gateway.stop() == 0
    finally:
        gateway.close()


def test_s0_19_without_host_no_other_address_is_listened_on(launch: Launch) -> None:
    gateway = launch()
    assert _status(gateway.origin) == 200
    assert _status(f"http://127.0.0.2:{gateway.port}") is None


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/v1/models", id="s4_18"),
        pytest.param("/api/llm/completion", id="s0_20"),
        pytest.param("/internal/llm/models", id="s2_1"),
        pytest.param("/api/status", id="s3_15"),
    ],
)
def test_one_port_serves_every_api(gateway: GatewayProcess, path: str) -> None:
    assert gateway.settings["PORT"] == str(gateway.port)
    answer = gateway.http.get(path)
    assert answer.status_code in {401, 405, 503}, answer.text


def test_s0_23_workers_are_processes_that_all_answer(launch: Launch, fake: FakeUpstream) -> None:
    gateway = launch(WORKERS=3)
    eventually(gateway.stderr.read_text, lambda log: "with 3 workers" in log)
    eventually(lambda: _children(gateway.pid), lambda children: len(children) == 3)
    desk = Desk(gateway, fake)
    desk.provider()
    assert desk.chat().status_code == 200
    assert gateway.stop() == 0


def test_s0_18_s1_12_debug_adds_lines_to_the_log_and_nothing_to_answers(
    launch: Launch, fake: FakeUpstream
) -> None:
    quiet, talkative = Desk(launch(), fake), Desk(launch(DEBUG="true"), fake)
    answers = []
    for desk in (quiet, talkative):
        desk.provider()
        answers.append(desk.gateway.post("/v1/chat/completions", desk.key, content=b"{").json())
        assert desk.gateway.stop() == 0
    for answer in answers:
        answer["error"].pop("request_id", None)
    assert answers[0] == answers[1]
    # They say which line of the source they are from.
    assert re.findall(r"\w+:\d+ Started server process", quiet.gateway.stderr.read_text()) == []
    assert re.findall(r"\w+:\d+ Started server process", talkative.gateway.stderr.read_text()) != []


@pytest.mark.parametrize("level", ["error", "INFO"])
def test_s3_15_log_level_is_the_lowest_that_is_logged(launch: Launch, level: str) -> None:
    gateway = launch(LOG_LEVEL=level)
    assert gateway.stop() == 0
    shown = re.findall(r"^[\d-]+ [\d:.]+ (\w+)", gateway.stderr.read_text(), re.MULTILINE)
    assert ("INFO" in shown) is (level == "INFO")


def test_s4_18_the_default_port_is_18000() -> None:
    program = "from llm_gateway.settings import Settings; print(Settings().port)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert int(done.stdout) == 18000
