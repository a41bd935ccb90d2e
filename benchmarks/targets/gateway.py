"""This gateway with everything on: key, limit, three weighted providers, metrics, journal, access log."""

from __future__ import annotations

import importlib.metadata
import sys
import time
from pathlib import Path

import httpx

from benchmarks.machine import Cores, free_ports
from benchmarks.scenarios import MODELS
from benchmarks.targets.base import WEIGHTS, Running, await_first_answer, await_ok, spawn
from benchmarks.targets.filled_catalog import fill_catalog

_ADMIN_KEY = "benchmark-admin-key"
_PATIENCE = 60.0
# Never reached, so that only the cost of the check is measured.
_RATE_LIMIT = 1_000_000


class GatewayTarget:
    """This gateway, on PostgreSQL when `db_url` is given, else on SQLite."""

    name = "llm-gateway"
    version = importlib.metadata.version("llm-gateway")

    def __init__(self, db_url: str | None = None, *, workers: int = 1, others: int = 0) -> None:
        """`others` is the number of unused providers and credentials in the catalog."""
        self._db_url = db_url
        self._workers = workers
        self._others = others

    def missing(self) -> str | None:
        """Return None: it is always installed."""
        return None

    def start(self, upstream_ports: list[int], folder: Path, cores: Cores) -> Running:
        """Start it once to configure it, and again to measure the time to its first answer."""
        first = self._spawn(folder, cores)
        try:
            await_ok(self.name, lambda: _get(first.port, "/health/ready"), first, folder, _PATIENCE)
            key = _configure(first.port, upstream_ports)
        finally:
            first.stop()
        if self._others:
            fill_catalog(self._db_url, folder / "data", self._others)
        again = self._spawn(folder, cores)
        again.headers = {"authorization": f"Bearer {key}"}
        return await_first_answer(self.name, again, folder, _PATIENCE)

    def _spawn(self, folder: Path, cores: Cores) -> Running:
        port = free_ports(1)[0]
        settings = {
            "PORT": str(port),
            "WORKERS": str(self._workers),
            "DATA_DIR": str(folder / "data"),
            "ADMIN_KEY": _ADMIN_KEY,
            "LOG_LEVEL": "warning",
            **({"DB_URL": self._db_url} if self._db_url else {}),
        }
        command: list[str | Path] = [sys.executable, "-m", "llm_gateway", "serve"]
        return spawn(command, port=port, folder=folder, cores=cores, settings=settings)


def reload_seconds(port: int) -> float:
    """Reload the gateway's catalog, and return the seconds until all workers had it."""
    with _admin(port) as admin:
        began = time.monotonic()
        admin.post("/config/reload").raise_for_status()
        return time.monotonic() - began


def _admin(port: int) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://127.0.0.1:{port}/admin/v1",
        headers={"authorization": f"Bearer {_ADMIN_KEY}"},
        trust_env=False,
        timeout=60,
    )


def _configure(port: int, upstream_ports: list[int]) -> str:
    with _admin(port) as admin:
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
