"""The commands of docs/how-to/move-from-the-query-gateway.md run as they are printed, and do what they say."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from llm_gateway.core.model_families import FAMILIES
from llm_gateway.surfaces.query.families import DEFAULT_TASKS
from tests.e2e.curl import CurlShell
from tests.e2e.gateway_process import ADMIN_KEY
from tests.e2e.query_setup import GATEWAY_FIELDS, LEGACY_FIELDS, QuerySetup, events_of
from tests.fakes.upstream import FakeUpstream

PAGE = (Path(__file__).parents[2] / "docs/how-to/move-from-the-query-gateway.md").read_text()
COMMANDS = re.findall(r"^```\n(curl .*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_s3_19_to_22_the_page_s_commands_run(tmp_path: Path, fake: FakeUpstream) -> None:
    setup = QuerySetup(tmp_path / "moving", fake)
    create, query, stream, costs, estimate, status = COMMANDS
    key = CurlShell(setup.gateway, ADMIN_KEY=ADMIN_KEY).json(create, 201)["key"]
    shell = CurlShell(setup.gateway, KEY=key)
    answer = shell.json(query)
    assert (set(answer), answer["request_id"]) == (LEGACY_FIELDS, "my-1")
    *_, last, done = events_of(shell.text(stream))
    assert (done, last["model"]) == ("[DONE]", "claude")
    answer = shell.json(costs)
    assert (set(answer), answer["request_id"], answer["tenant"]) == (GATEWAY_FIELDS, "my-2", "internal")
    assert shell.json(estimate)["output_tokens"] == 100
    assert shell.json(status)["status"] == "healthy"
    setup.close()


def test_s3_19_s3_21_the_page_has_every_field_of_an_answer() -> None:
    rows = "\n".join(re.findall(r"^\| (`[a-z].*?) \|", PAGE, re.MULTILINE))
    named = set(re.findall(r"`(\w+)`", rows))
    assert GATEWAY_FIELDS - {"num_tokens"} <= named


def test_s3_2_the_page_says_which_family_a_task_prefers() -> None:
    for family in FAMILIES.values():
        assert f"`{family.default_model}`" in PAGE
    for task, (first, *_) in DEFAULT_TASKS.items():
        if task != "other":
            assert re.search(rf"`{task}`(?: \(the default\) prefers)? {first}", PAGE), task
