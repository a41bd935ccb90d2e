"""The commands of docs/how-to/move-from-the-agent-proxy.md run as they are printed, and do what they say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agents import HEADERS, PROXY, SECRET
from tests.e2e.conftest import Launch
from tests.e2e.gateway_process import ADMIN_KEY, GatewayProcess
from tests.fakes.script import Script, Tool
from tests.fakes.upstream import FakeUpstream

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

PAGE = (Path(__file__).parents[2] / "docs/how-to/move-from-the-agent-proxy.md").read_text()
BLOCKS = re.findall(r"^```\n(curl .*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [command for block in BLOCKS for command in re.split(r"\n(?=curl )", block.strip())]
SHOWN = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]


class Reader:
    """Follows the page from command to command."""

    def __init__(self, gateway: GatewayProcess, addresses: dict[str, str]) -> None:
        """`addresses` are those of the page's providers, and where they are in truth."""
        self._addresses = addresses | {"http://127.0.0.1:7007": gateway.origin}
        self._commands = iter(COMMANDS)

    def text(self) -> str:
        """Run the next command, which must be answered with a 2xx, and return the answer."""
        command = next(self._commands)
        for printed, real in self._addresses.items():
            command = command.replace(printed, real)
        done = subprocess.run(
            ["/bin/sh", "-c", f"{command} -sSf"],
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "ADMIN_KEY": ADMIN_KEY,
                "LLM_PROXY_SECRET": SECRET,
                "OPENAI_API_KEY": "sk-upstream",
                "NO_PROXY": "*",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self) -> Any:
        return json.loads(self.text())

    @property
    def is_done(self) -> bool:
        return next(self._commands, None) is None


def test_s2_27_the_page_leads_from_the_first_request_to_troubleshooting(
    launch: Launch, fake: FakeUpstream
) -> None:
    gateway = launch(LLM_PROXY_SECRET=SECRET)
    openai, local = fake.lane("moved-openai"), fake.lane("moved-local")
    openai.models = ("gpt-4-1106-preview",)
    openai.default = Script(text="Hello!")
    addresses = {"https://api.openai.com/v1": openai.base_url, "http://127.0.0.1:11434": local.base_url}
    reader = Reader(gateway, addresses)
    assert (reader.json()["provider_key"], reader.json()["provider_key"]) == ("openai", "local")
    answer = reader.json()
    assert answer | {"latency_ms": 0} == SHOWN[0] | {"latency_ms": 0}
    assert openai.last.header("authorization") == "Bearer sk-upstream"
    streamed = reader.text()
    assert streamed.endswith("\n\ndata: [DONE]\n\n")
    assert '"provider":"local"' in streamed
    openai.next.append(Script(tools=(Tool(id="call_1", name="weather", arguments='{"city":"Lviv"}'),)))
    assert reader.json()["tool_calls"][0]["function"]["name"] == "weather"
    assert {model["name"] for model in reader.json()["models"]} == {"gpt-4.1-mini", "dagi-local-8b"}
    used = reader.json()
    assert used.keys() == SHOWN[1].keys()
    assert (used["total_requests"], used["requests_per_minute"]) == (1, 10)
    assert reader.json()["agent_limits"]["requests_per_minute"] == 60
    body: dict[str, Any] = {"model": "dagi-local-8b", "messages": [{"role": "user", "content": "hi"}]}
    body |= {"metadata": {"agent_id": "agent:sofia"}}
    answered = gateway.http.post(PROXY, json=body, headers=HEADERS)
    assert answered.headers["x-ratelimit-limit-requests"] == "60"
    assert gateway.http.post(PROXY, json=body | {"model": "none"}, headers=HEADERS).status_code == 404
    assert reader.json()["ok"] is True
    offered = {model["id"]: model["served_as"] for model in reader.json()["data"]}
    assert offered["gpt-4-1106-preview"] == ["gpt-4.1-mini"]
    assert [row["status_code"] for row in reader.json()["data"]] == [404]
    assert reader.json()["ok"] is True
    assert reader.json()["providers"]["local"]["status"] == "healthy"
    assert reader.is_done
