"""The metrics folder is new for every boot, and removed after it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from tests.fakes.standin_gateway import (
    Gateway,
    get,
)


def test_the_metrics_folder_is_new_for_every_boot_and_gone_after_it(gateways: Callable[..., Gateway]) -> None:
    first = gateways(WORKERS="2", LLM_GATEWAY_METRICS_DIRECTORY="/nowhere")
    url = first.start()
    run = first.data_dir / "run"
    (killed,) = run.glob("metrics-*")
    assert get(f"{url}/environment").json()["LLM_GATEWAY_METRICS_DIRECTORY"] == str(killed)
    second = gateways(WORKERS="2", DATA_DIR=str(first.data_dir))
    second.start()
    assert len(list(run.glob("metrics-*"))) == 2
    second.signal(signal.SIGTERM)
    second.wait()
    assert list(run.glob("metrics-*")) == [killed]
    os.killpg(first.process.pid, signal.SIGKILL)
    first.wait()
    third = gateways(WORKERS="2", DATA_DIR=str(first.data_dir))
    third.start()
    (current,) = run.glob("metrics-*")
    assert current != killed
