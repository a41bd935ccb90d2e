"""Starts the gateway as its users do, as a process of its own, and talks to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
from prometheus_client.parser import text_string_to_metric_families

from tests.services import free_port

ADMIN_KEY = "test-admin-key-0123456789"
_START_SECONDS = 30.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.02
_PATIENT: dict[str, Any] = {"max_retries": 0, "timeout": 15}
# What a program writes when something went wrong that nobody dealt with.
_DISTRESS = re.compile(
    r"Traceback|never retrieved|Exception ignored|was never awaited|ResourceWarning|DeprecationWarning|"
    r"Unclosed (client|connector)|Task was destroyed"
)


class GatewayProcess:
    """One `llm-gateway serve`, its folder and its logs."""

    def __init__(self, folder: Path, **settings: object) -> None:
        """Prepare to serve out of `folder`; `settings` are environment variables."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = int(str(settings.get("PORT") or free_port()))
        self.origin = f"http://127.0.0.1:{self.port}"
        self.settings: dict[str, str] = {
            "PORT": str(self.port),
            "DATA_DIR": str(folder / "data"),
            "ADMIN_KEY": ADMIN_KEY,
            "DRAIN_TIMEOUT": "10",
            # What is tested of one attempt, or of each deployment's first, is not to be tried again after a wait.
            "MAX_RETRIES": "0",
            **{name: str(value) for name, value in settings.items()},
        }
        self.settings["PORT"] = str(self.port)
        self.process: subprocess.Popen[bytes] | None = None
        self.stdout = folder / "stdout.log"
        self.stderr = folder / "stderr.log"
        # What tests that share this gateway have in common, and what they left behind.
        self.shared_key: str | None = None
        self.leftovers: list[int] = []
        self._clients: list[openai.OpenAI] = []
        self.http = httpx.Client(base_url=self.origin, timeout=15, trust_env=False, verify=False)
        self.admin = httpx.Client(
            base_url=f"{self.origin}/admin/v1",
            headers={"authorization": f"Bearer {self.settings['ADMIN_KEY']}"},
            timeout=15,
            trust_env=False,
            verify=False,
        )

    # --- life ---

    def start(self) -> GatewayProcess:
        """Start it and wait until it answers; AssertionError with its log when it does not."""
        self.launch()
        deadline = time.monotonic() + _START_SECONDS
        while not self.is_ready():
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the gateway did not start:\n{self.log()}")
            time.sleep(_POLL_SECONDS)
        return self

    def launch(self) -> None:
        """Start it without waiting."""
        kept = ("PATH", "HOME", "LANG", "TMPDIR", "COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
        environment = {name: os.environ[name] for name in kept if name in os.environ} | self.settings
        command = [sys.executable, "-W", "default", "-m", "llm_gateway", "serve"]
        with self.stdout.open("ab") as out, self.stderr.open("ab") as err:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def is_ready(self) -> bool:
        """Tell whether it would take requests now."""
        try:
            headers = {"authorization": f"Bearer {self.settings.get('OPS_TOKEN', 'none')}"}
            return self.http.get("/health/ready", headers=headers, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    @property
    def pid(self) -> int:
        """Return the main process's id."""
        assert self.process is not None
        return self.process.pid

    def terminate(self) -> None:
        """Ask it to end, and do not wait."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = _STOP_SECONDS) -> int:
        """Wait for its end and return the exit code; whatever is left after `seconds` is killed."""
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the gateway was still there after {seconds} s:\n{self.log()}") from None

    def stop(self) -> int:
        """End it as a service manager does, and return the exit code."""
        self.terminate()
        return self.wait()

    def kill(self) -> None:
        """End it and its workers at once, as a crash of the machine would."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)

    def close(self) -> None:
        """End whatever is left, without asking how it went."""
        self.http.close()
        self.admin.close()
        self.close_clients()
        if self.process is not None and self.process.poll() is None:
            self.terminate()
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def close_clients(self) -> None:
        """Close the SDK's clients that were made so far."""
        while self._clients:
            self._clients.pop().close()

    # --- logs ---

    def log(self) -> str:
        """Return the end of what it wrote on standard error and output."""
        parts = []
        for name, file in (("stderr", self.stderr), ("stdout", self.stdout)):
            text = file.read_text("utf-8", "replace") if file.exists() else ""
            parts.append(f"--- {name} of {self.folder.name} ---\n{text[-3000:]}")
        return "\n".join(parts)

    def distress(self) -> list[str]:
        """Return the log lines that tell of a fault that nobody dealt with."""
        text = self.stderr.read_text("utf-8", "replace") if self.stderr.exists() else ""
        return [line for line in text.splitlines() if _DISTRESS.search(line)]

    def access_lines(self) -> list[dict[str, Any]]:
        """Return the access log's lines so far, decoded."""
        lines = self.stdout.read_text("utf-8").splitlines() if self.stdout.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

    def access_line(self, request_id: str) -> dict[str, Any]:
        """Return the one access log line of a request, waiting for its batch."""

        def find() -> list[dict[str, Any]]:
            return [line for line in self.access_lines() if line.get("request_id") == request_id]

        found = eventually(find, lambda lines: len(lines) == 1)
        line: dict[str, Any] = found[0]
        return line

    # --- configuration ---

    def create_provider(self, provider_key: str, api_base: str, **fields: Any) -> dict[str, Any]:
        """Create a provider and return it as the gateway shows it."""
        body = {"provider_key": provider_key, "provider_type": "openai", "api_base": api_base}
        return accepted(self.admin.post("/providers", json=body | {"api_key": "sk-upstream-secret"} | fields))

    def create_credential(self, name: str, **fields: Any) -> str:
        """Create a credential and return its key, which the gateway made unless one is given."""
        made = accepted(self.admin.post("/credentials", json={"name": name} | fields))
        return str(fields.get("key") or made["key"])

    def config_version(self) -> int:
        """Return the version in force."""
        return int(accepted(self.admin.get("/config/version"))["version"])

    # --- facts ---

    def usage_rows(self, **filters: Any) -> list[dict[str, Any]]:
        """Return every usage row that matches, all pages."""
        rows: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = accepted(self.admin.get("/usage", params=filters | ({"cursor": cursor} if cursor else {})))
            rows += page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                return rows

    def usage_row(self, request_id: str) -> dict[str, Any]:
        """Return the one usage row of a request, waiting for its end to be noted."""
        rows = eventually(lambda: self.usage_rows(request_id=request_id), lambda found: len(found) == 1)
        row: dict[str, Any] = rows[0]
        return row

    def metrics(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that carry these labels."""
        return self.metrics_page()(name, **labels)

    def metrics_page(self) -> Callable[..., float]:
        """Scrape once, and return what `metrics` is on that page."""
        page = accepted_text(self.http.get("/metrics"))
        samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]

        def total(name: str, **labels: str) -> float:
            found = (one for one in samples if one.name == name and labels.items() <= one.labels.items())
            return sum(sample.value for sample in found)

        return total

    # --- clients ---

    def sdk(self, key: str, **options: Any) -> openai.OpenAI:
        """Return the official client, pointed here, that never tries twice; closed with this process."""
        # Reading the machine's certificates for every client would take longer than the tests.
        transport = openai.DefaultHttpxClient(verify=False)
        client = openai.OpenAI(
            base_url=f"{self.origin}/v1", api_key=key, http_client=transport, **(_PATIENT | options)
        )
        self._clients.append(client)
        return client

    def async_sdk(self, key: str, **options: Any) -> openai.AsyncOpenAI:
        """Return the official asyncio client, pointed here, that never tries twice; the caller closes it."""
        transport = openai.DefaultAsyncHttpxClient(verify=False)
        return openai.AsyncOpenAI(
            base_url=f"{self.origin}/v1", api_key=key, http_client=transport, **(_PATIENT | options)
        )

    def post(self, path: str, key: str | None, **arguments: Any) -> httpx.Response:
        """Send one POST with a client's key, or without."""
        headers = {"authorization": f"Bearer {key}"} if key is not None else {}
        return self.http.post(path, headers=headers | arguments.pop("headers", {}), **arguments)


def accepted(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON of a 2xx; AssertionError with the body otherwise."""
    assert response.is_success, (
        f"{response.request.method} {response.url}: {response.status_code} {response.text}"
    )
    made: dict[str, Any] = response.json()
    return made


def accepted_text(response: httpx.Response) -> str:
    """Return the text of a 2xx; AssertionError with the body otherwise."""
    assert response.is_success, (
        f"{response.request.method} {response.url}: {response.status_code} {response.text}"
    )
    return response.text


def eventually(look: Callable[[], Any], ready: Callable[[Any], bool], seconds: float = 10.0) -> Any:
    """Look again and again until `ready`, and return what was seen; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if ready(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s; last seen: {seen!r}")
        time.sleep(_POLL_SECONDS)
