"""docs/how-to/add-a-provider.md: its commands run as they are printed, and what it tells of them is so."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Launch
from tests.e2e.gateway_process import accepted
from tests.e2e.test_readme import Newcomer
from tests.fakes.strict_servers import StrictServers
from tests.fakes.upstream import FakeUpstream

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

PAGE = (Path(__file__).parents[2] / "docs/how-to/add-a-provider.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
EXPORT, *REST = BLOCKS
ADDING = [block for block in REST if "provider_type" in block]
TRYING = [block for block in REST if "provider_type" not in block]


@pytest.fixture
def picky() -> Iterator[StrictServers]:
    started = StrictServers().start()
    yield started
    started.stop()


def test_the_page_leads_to_providers_that_answer(
    launch: Launch, fake: FakeUpstream, picky: StrictServers
) -> None:
    # ADMIN_KEY empty is ADMIN_KEY unset: one is made in ./data, as for a newcomer.
    gateway = launch(ADMIN_KEY="")
    newcomer = Newcomer(gateway, "")
    key = (gateway.folder / "data/admin_key").read_text().strip()
    gateway.admin.headers["authorization"] = f"Bearer {key}"
    for block in ADDING:
        assert '"error"' not in newcomer.shell(EXPORT + block)
    rows = {row["provider_key"]: row for row in accepted(gateway.admin.get("/providers"))["data"]}
    assert {row["provider_type"] for row in rows.values()} == {
        "mistral", "deepseek", "groq", "ollama", "vllm", "azure",
    }  # fmt: skip
    assert rows["ollama-here"]["api_base"] == "http://localhost:11434/v1"
    # The commands are for real accounts; here fakes answer in their place.
    lane = fake.lane("how-to")
    lane.models = ("llama3.2", "qwen3")
    for name in rows:
        base = picky.strict if name == "mistral-eu" else lane.base_url
        accepted(gateway.admin.patch(f"/providers/{name}", json={"api_base": base}))
    (block,) = TRYING
    mistral, vllm, ollama = (
        json.loads(newcomer.shell(EXPORT + command)) for command in block.strip().split("\n\n")
    )
    assert (mistral["ok"], mistral["model"], mistral["text"]) == (True, "mistral-small-latest", "Hello!")
    assert (vllm["ok"], vllm["model"]) == (True, "Qwen/Qwen3-32B")
    assert ollama["data"] == [
        {"id": "llama3.2", "served_as": ["llama3.2"]},
        {"id": "qwen3", "served_as": []},
    ]
