"""The README's commands and code run as they are printed; only host names differ."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Launch
from tests.e2e.gateway_process import GatewayProcess
from tests.fakes.script import Script
from tests.fakes.upstream import FakeUpstream

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
SHELL = next(text for language, text in BLOCKS if not language and "curl" in text)
SDK = next(text for language, text in BLOCKS if language == "python")
USAGE = next(command for command in re.findall(r"`(curl [^`]+)`", README) if "usage" in command)


class Newcomer:
    """Somebody who follows the README in the folder where the gateway was started."""

    def __init__(self, gateway: GatewayProcess, provider_url: str) -> None:
        self._gateway = gateway
        self._provider_url = provider_url

    def follow(self, text: str, *command: str) -> str:
        """Run `text` through `command` and return what it prints."""
        assert "http://127.0.0.1:18000" in text
        here = text.replace("http://127.0.0.1:18000", self._gateway.origin)
        here = here.replace("https://api.openai.com/v1", self._provider_url)
        done = subprocess.run(
            [*command, here],
            cwd=self._gateway.folder,
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def shell(self, text: str) -> str:
        """Run shell commands."""
        return self.follow(text, "bash", "-euc")


def test_s0_11_the_readme_leads_from_nothing_to_a_chat_and_its_usage_row(
    launch: Launch, fake: FakeUpstream
) -> None:
    # ADMIN_KEY empty is ADMIN_KEY unset: one is made in ./data, as for a newcomer.
    gateway = launch(ADMIN_KEY="")
    lane = fake.lane("readme")
    lane.default = Script(text="Hello, newcomer!")
    newcomer = Newcomer(gateway, lane.base_url)

    printed = newcomer.shell(SHELL)

    assert '"provider_key":"openai-main"' in printed
    assert '"name":"me"' in printed
    assert printed.rstrip().endswith("data: [DONE]")
    assert newcomer.follow(SDK, sys.executable, "-c") == "Hello, newcomer!"
    export = next(line for line in SHELL.splitlines() if line.startswith("export"))
    rows = json.loads(newcomer.shell(f"{export}\n{USAGE}"))["data"]
    assert [(row["credential"], row["provider"], row["outcome"]) for row in rows] == [
        ("me", "openai-main", "ok")
    ] * 2
