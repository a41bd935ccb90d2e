"""The commands of docs/how-to/give-each-team-its-own-keys.md run as they are printed, and do what they say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Launch
from tests.e2e.gateway_process import ADMIN_KEY, GatewayProcess
from tests.fakes.upstream import FakeUpstream

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

PAGE = (Path(__file__).parents[2] / "docs/how-to/give-each-team-its-own-keys.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [command for block in BLOCKS for command in re.split(r"\n(?=curl )", block.strip())]


def run(gateway: GatewayProcess, command: str, credential: str) -> dict[str, Any]:
    """Run one command, which must be answered with a 2xx, and return the answer."""
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace("http://127.0.0.1:18000", gateway.origin) + " -sSf"],
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "ADMIN_KEY": ADMIN_KEY,
            "ID": credential,
            "NO_PROXY": "*",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_the_page_leads_from_a_tenant_to_its_end(launch: Launch, fake: FakeUpstream, store: str) -> None:
    gateway = launch(store)
    lane = fake.lane(f"teams-{store}")
    gateway.create_provider(lane.name, lane.base_url, model_mapping={"gpt-4o": "gpt-4o"})
    commands = iter(COMMANDS)
    credential = ""

    def follow() -> dict[str, Any]:
        answer = run(gateway, next(commands), credential)
        assert "faults" not in answer
        return answer

    def status(key: str, **fields: Any) -> int:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], **fields}
        return gateway.post("/v1/chat/completions", key, json=body).status_code

    assert follow()["limits"]["tokens_per_day"] == 20_000_000
    assert follow()["tenant"] == "research"
    created = follow()
    key, credential = created["key"], str(created["id"])
    month, day = follow(), follow()
    assert (month["amount_usd"], day["models"]) == ("500", ["gpt-*"])
    assert "warnings" not in month
    assert status(key) == 200
    assert follow()["name"] == "research-month"
    assert follow()["amount_usd"] == "750"
    assert follow()["counts_from"] > month["counts_from"]
    assert follow()["user_limits"]["requests_per_minute"] == 10
    assert follow()["scope"] == "user"
    answers = [status(key, user="u-1") for _ in range(11)]
    assert answers[:10] == [200] * 10
    assert status(key, user="u-2") == 200
    new = follow()["key"]
    assert (status(key), status(new)) == (200, 200)
    assert follow()["is_enabled"] is False
    assert status(new) == 401
    assert follow()["is_enabled"] is True
    assert status(new) == 200
    assert follow()["revoked_at"] is not None
    assert (status(key), status(new)) == (401, 401)
    another = gateway.create_credential("another", tenant="research")
    assert status(another) == 200
    assert follow()["is_enabled"] is False
    assert status(another) == 403
    assert next(commands, None) is None
