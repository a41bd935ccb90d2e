"""How a gateway starts, or says why it cannot."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.standin_gateway import (
    WORKERS,
    Gateway,
    get,
)


def test_as_many_files_may_be_open_as_the_system_allows(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways()
    gateway.start()
    limits = Path(f"/proc/{gateway.process.pid}/limits").read_text()
    (soft, hard) = re.findall(r"Max open files +(\d+) +(\d+)", limits)[0]
    assert soft == hard


def test_one_process_counts_by_itself(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways(LLM_GATEWAY_METRICS_DIRECTORY="/nowhere")
    assert "LLM_GATEWAY_METRICS_DIRECTORY" not in get(f"{gateway.start()}/environment").json()


@WORKERS
@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [("prepare", 2, "cannot prepare"), ("start", 1, "the stand-in does not start")],
)
def test_what_cannot_start_says_so_and_ends(
    gateways: Callable[..., Gateway], workers: str, fault: str, code: int, said: str
) -> None:
    gateway = gateways(WORKERS=workers, STANDIN_FAULT=fault)
    gateway.launch()
    assert gateway.wait() == code
    assert said in gateway.log()
    assert "Traceback" not in gateway.log()
