"""This gateway with everything on: key, limit, three weighted providers, metrics, journal, access log."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.machine import Cores, free_ports
from benchmarks.scenarios import MODELS
from benchmarks.targets.base import WEIGHTS, Running
from benchmarks.tools import BenchmarkFailed

_ADMIN_KEY = "benchmark-admin-key"
_PATIENCE = 60.0
# High enough never to refuse, so that the check itself is what is measured.
_RATE_LIMIT = 1_000_000


class GatewayTarget:
    """One worker, on PostgreSQL when `db_url` is given, else on SQLite."""

    name = "llm-gateway"

    def __init__(self, db_url: str | None = None) -> None:
        """Take the store."""
        self._db_url = db_url

    def missing(self) -> str | None:
        """Say that it is always there."""
        return None

    def start(self, upstream_ports: list[int], folder: Path, cores: Cores) -> Running:
        """Start it once to configure it, and again to see how long it takes to its first answer."""
        first = self._spawn(folder, cores)
        try:
            _until(lambda: _get(first.port, "/health/ready"), folder)
            key = _configure(first.port, upstream_ports)
        finally:
            first.stop()
        again = self._spawn(folder, cores)
        again.headers = {"authorization": f"Bearer {key}"}
        began = time.monotonic()
        try:
            _until(lambda: _chat(again), folder)
        except BenchmarkFailed:
            again.stop()
            raise
        again.start_seconds = time.monotonic() - began
        return again

    def _spawn(self, folder: Path, cores: Cores) -> Running:
        port = free_ports(1)[0]
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        settings = {
            "PORT": str(port),
            "DATA_DIR": str(folder / "data"),
            "ADMIN_KEY": _ADMIN_KEY,
            "LOG_LEVEL": "warning",
            **({"DB_URL": self._db_url} if self._db_url else {}),
        }
        command = [sys.executable, "-m", "llm_gateway", "serve"]
        with (folder / "stdout.log").open("ab") as out, (folder / "stderr.log").open("ab") as err:
            process = cores.spawn(
                cores.target, command, env=kept | settings, cwd=folder, stdout=out, stderr=err
            )
        return Running(process, port)


def _configure(port: int, upstream_ports: list[int]) -> str:
    headers = {"authorization": f"Bearer {_ADMIN_KEY}"}
    url = f"http://127.0.0.1:{port}/admin/v1"
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as admin:
        for number, (upstream, weight) in enumerate(zip(upstream_ports, WEIGHTS, strict=True)):
            provider = {
                "provider_key": f"upstream-{number}",
                "provider_type": "openai",
                "api_base": f"http://127.0.0.1:{upstream}/v1",
                "api_key": "sk-upstream",
                "model_mapping": MODELS,
                "weight": weight,
            }
            admin.post("/providers", json=provider).raise_for_status()
        made = admin.post("/credentials", json={"name": "load", "rate_limit": _RATE_LIMIT})
        made.raise_for_status()
        key: str = made.json()["key"]
        return key


def _get(port: int, path: str) -> int:
    return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False, timeout=5).status_code


def _chat(running: Running) -> int:
    url = f"http://127.0.0.1:{running.port}/v1/chat/completions"
    body = {"model": "unary-bench", "messages": [{"role": "user", "content": "hello"}]}
    return httpx.post(url, headers=running.headers, json=body, trust_env=False, timeout=5).status_code


def _until(ask: Any, folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    status: object = None
    while time.monotonic() < deadline:
        try:
            status = ask()
        except httpx.TransportError as fault:
            status = type(fault).__name__
        if status == 200:
            return
        time.sleep(0.005)
    log = (folder / "stderr.log").read_text("utf-8", "replace")[-3000:]
    raise BenchmarkFailed(f"the gateway did not start (last: {status}):\n{log}")
