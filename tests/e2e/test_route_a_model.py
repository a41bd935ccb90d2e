"""The commands of docs/how-to/route-a-model.md run as they are printed, and do what they say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Launch
from tests.e2e.gateway_process import ADMIN_KEY, GatewayProcess
from tests.fakes.script import Script
from tests.fakes.upstream import FakeUpstream

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

PAGE = (Path(__file__).parents[2] / "docs/how-to/route-a-model.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [command for block in BLOCKS for command in re.split(r"\n(?=curl )", block.strip())]


def run(gateway: GatewayProcess, command: str) -> dict[str, Any]:
    """Run one command, which must be answered with a 2xx, and return the answer."""
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace("http://127.0.0.1:18000", gateway.origin) + " -sSf"],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "ADMIN_KEY": ADMIN_KEY, "NO_PROXY": "*"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_s2_26_s3_2_the_page_leads_from_weights_to_task_types(launch: Launch, fake: FakeUpstream) -> None:
    gateway = launch()
    for key in ("openai-main", "openai-backup"):
        lane = fake.lane(key)
        lane.default = Script(text=key)
        mapping = {name: name for name in ("gpt-4o", "gpt-4o-mini", "gpt-4.1")}
        gateway.create_provider(key, lane.base_url, model_mapping=mapping)
    client = gateway.create_credential("me")

    def served() -> Counter[str]:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
        answers = [gateway.post("/v1/chat/completions", client, json=body).json() for _ in range(16)]
        # Shares are exact from the second cycle after a change on.
        return Counter(answer["choices"][0]["message"]["content"] for answer in answers[8:])

    assert served() == {"openai-main": 4, "openai-backup": 4}
    weighted, drained, *others = COMMANDS
    assert run(gateway, weighted)["warnings"] == []
    assert served() == {"openai-main": 6, "openai-backup": 2}
    run(gateway, drained)
    assert served() == {"openai-backup": 8}
    answers = [run(gateway, command) for command in others]
    (listed,) = [answer for answer in answers if "unconfigured" in answer]
    assert listed["unconfigured"] == ["gpt-4o-mini", "gpt-4.1"]
    (row,) = listed["data"]
    assert (row["strategy"], row["affinity"], row["fallbacks"]) == (
        "least_busy", "prompt_cache_key", ["gpt-4o-mini"],
    )  # fmt: skip
    assert row["retry"]["max_retries"] == 2
    assert row["timeouts"] == {"connect": 2, "first_content": 20, "idle": 30, "total": 120}
    assert row["warnings"] == []
    assert [answer["id"] for answer in answers if answer.get("deleted")] == [2, 1]
    assert answers[-1]["models"] == ["gpt-4o-mini", "gpt-4o"]
    assert served() == {"openai-main": 4, "openai-backup": 4}
