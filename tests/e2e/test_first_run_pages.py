"""The first run of a gateway: each step ticks itself off, and the lines for clients work as they are printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Launch
from tests.e2e.gateway_process import ADMIN_KEY, accepted
from tests.fakes.console_visitor import ConsoleVisitor, code_blocks, live_path

STORE_MATTERS = False
VIEWER_KEY = "test-viewer-key-0123456789"
PATH = "/console/first-run"


@pytest.fixture
def visitors() -> Iterator[list[ConsoleVisitor]]:
    made: list[ConsoleVisitor] = []
    yield made
    for visitor in made:
        visitor.close()


def states(page: str) -> dict[str, str]:
    found = re.findall(r'<li class="step (\w+)" id="step-(\w+)"', page)
    return {step: state for state, step in found}


def run(command: list[str]) -> str:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=kept, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def block(page: str, beginning: str, key: str) -> str:
    found = next(text for text in code_blocks(page) if text.startswith(beginning))
    return found.replace("YOUR_KEY", key)


@pytest.mark.parametrize("root", ["", "/gw"])
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_from_nothing_to_the_first_request(launch: Launch, visitors: list[ConsoleVisitor], root: str) -> None:
    gateway = launch(**({"ROOT_PATH": root} if root else {}))
    visitors.append(visitor := ConsoleVisitor(gateway.origin, ADMIN_KEY, root))
    page = visitor.get(PATH)
    assert states(page) == {
        "provider": "open", "tested": "open", "key": "open", "request": "open",
        "dashboards": "optional", "alerts": "optional",
    }  # fmt: skip
    assert "0 of 6 steps done" in page
    assert "No model takes chats yet" in page
    assert f'href="{root}/console/providers/new"' in page
    with visitor.follow(live_path(page)) as events:
        simulated = {"provider_key": "test", "provider_type": "simulated"}
        provider = accepted(gateway.admin.post("/providers", json=simulated))
        assert states(next(events).data)["provider"] == "done"
        assert accepted(
            gateway.admin.post(f"/providers/{provider['id']}/test", json={"model": "gpt-4o-mini"})
        )["ok"]
        assert states(next(events).data)["tested"] == "done"
        key = gateway.create_credential("me")
        shown = next(events).data
        assert states(shown)["key"] == "done"
        assert "Waiting for it…" in shown
        # Only now are there a model and lines that work.
        page = visitor.get(PATH)
        assert f"<code>{gateway.origin}{root}/v1</code>" in page
        assert states(page)["request"] == "open"
        said = run(["sh", "-c", block(page, "curl ", key)])
        assert said.endswith("data: [DONE]\n\n")
        while states(shown)["request"] == "open":
            shown = next(events).data
        request_id = gateway.usage_rows()[0]["request_id"]
        assert f'href="{root}/console/requests/{request_id}"' in shown
        assert "gpt-4o-mini" in shown
        assert ">me<" in shown
        assert re.search(r"[1-9]\d* of the prompt, [1-9]\d* of the reply", shown)
    assert run([sys.executable, "-c", block(page, "from openai", key)]).strip()
    assert len(gateway.usage_rows(outcome="ok")) == 2
    gateway.http.get("/metrics")
    page = visitor.get(PATH)
    assert states(page)["dashboards"] == "done"
    # The one thing that cannot be known.
    assert states(page)["alerts"] == "optional"
    answer = visitor.post(f"{PATH}/alerts")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{root}{PATH}")
    assert {"HttpOnly", "SameSite=strict"} <= set(answer.headers["set-cookie"].split("; "))
    page = visitor.get(PATH)
    assert "6 of 6 steps done" in page
    assert "The gateway cannot know" in page


def test_a_request_that_fails_is_shown_with_its_error_and_ticks_nothing_off(
    launch: Launch, visitors: list[ConsoleVisitor]
) -> None:
    gateway = launch(VIEWER_KEY=VIEWER_KEY, BUDGET_WEBHOOK_URL="http://127.0.0.1:9/hook")
    key = gateway.create_credential("<b>me</b>")
    body = {"model": "<i>nothing</i>", "messages": [{"role": "user", "content": "hi"}]}
    assert gateway.post("/v1/chat/completions", key, json=body).status_code == 404
    visitors.append(visitor := ConsoleVisitor(gateway.origin, VIEWER_KEY))
    page = visitor.get(PATH)
    assert (states(page)["request"], states(page)["key"]) == ("open", "done")
    assert "A request arrived and was not answered" in page
    assert "&lt;i&gt;nothing&lt;/i&gt;" in page
    assert "<code>model_not_found</code>" in page or "rejected" in page
    # A fact: nobody has to say it, and a viewer could not.
    assert states(page)["alerts"] == "done"
    assert f'action="{PATH}/alerts"' not in page
    assert visitor.post(f"{PATH}/alerts").status_code == 403


def test_lines_name_the_address_of_the_browser(launch: Launch, visitors: list[ConsoleVisitor]) -> None:
    gateway = launch(TRUSTED_PROXIES="127.0.0.1")
    gateway.create_provider(
        "main", "http://127.0.0.1:9/v1", model_mapping={"gpt-4o": "gpt-4o", 'it\'s "odd"': "x"}
    )
    visitors.append(visitor := ConsoleVisitor(gateway.origin, ADMIN_KEY))
    cookies = {f"__Host-{name}": value for name, value in visitor.client.cookies.items()}

    def seen(host: str, proto: str) -> str:
        headers = {"host": host, "x-forwarded-proto": proto}
        if proto == "https":
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        answer = visitor.client.get(PATH, headers=headers)
        assert answer.status_code == 200
        return answer.text

    assert "<code>https://llm.example:8443/v1</code>" in seen("llm.example:8443", "https")
    assert "<code>http://[::1]:80/v1</code>" in seen("[::1]:80", "http")
    # What is no host does not get into lines for a shell.
    assert "<code>http://your-gateway/v1</code>" in seen("a;$(reboot)", "http")
    page = visitor.get(f"{PATH}?model=it%27s+%22odd%22")
    assert '"it\'s \\"odd\\""' in "\n".join(code_blocks(page))
    assert "<code>gpt-4o</code>" in visitor.get(f"{PATH}?model=unknown")
