"""The lines of docs/how-to/move-from-dgen-ping.md run as they stand, but for the port."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from tests.e2e.conftest import Launch
from tests.e2e.gateway_process import ADMIN_KEY
from tests.fakes.script import Script, Tokens
from tests.fakes.upstream import FakeUpstream

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/how-to/move-from-dgen-ping.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def shape(value: object) -> object:
    """Return what sort of JSON a value is, all the way down."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return type(value).__name__


def test_the_pages_lines_run_and_answer_as_it_says_s1_2_to_s1_6_s0_33_to_s0_38(
    launch: Launch, fake: FakeUpstream
) -> None:
    settings = {name: value for name, value in dotenv_values(ROOT / "examples/.env").items() if value}
    del settings["PORT"]
    gateway = launch(**settings)
    lane = fake.lane("moved")
    lane.default = Script(text="Hello! I'm doing well.", tokens=Tokens(prompt=25, completion=45))
    gateway.create_provider("p", lane.base_url, model_mapping={"gemini": "g"})
    printed = ""
    rows: list[dict[str, Any]] = []
    ran = 0
    for language, text in BLOCKS:
        if language == "sh":
            ran += 1
            done = subprocess.run(
                [
                    "bash",
                    "-euc",
                    text.replace("http://localhost:8001", gateway.origin).replace("curl ", "curl -sSf "),
                ],
                env={"PATH": os.environ["PATH"], "ADMIN_KEY": ADMIN_KEY},
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, f"{text}\n{done.stderr}\n{done.stdout}"
            printed = done.stdout
        elif language == "json":
            # What a line answers follows it.
            assert shape(json.loads(printed)) == shape(json.loads(text)), printed
        if "/admin/v1/usage" in text:
            rows = json.loads(printed)["data"]
        if "stream" in text and language == "sh":
            assert printed.rstrip().endswith("data: [DONE]")
    assert ran == 9
    assert [event["event_type"] for event in json.loads(printed)["data"]] == ["custom_event"]
    assert {row["endpoint"] for row in rows} == {"/api/llm/completion", "/api/llm/chat"}
    # The columns that the page names.
    named = set(re.findall(r"`(\w+)`", PAGE.partition("## Read the telemetry")[2].partition("## Errors")[0]))
    columns = {name for name in named if name in rows[0]}
    assert columns >= {"request_id", "created_at", "soeid", "project", "end_user", "upstream_latency_ms"}
