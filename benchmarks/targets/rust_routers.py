"""Two Rust routers from the package index, proxies for OpenAI-type upstreams: the fastest peers known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import Cores, free_ports
from benchmarks.targets import installing
from benchmarks.targets.base import Running, await_first_answer, spawn


@dataclass(frozen=True, kw_only=True)
class RouterTarget:
    """One of the two. It checks no key and maps no model: the fake provider reads the public names."""

    name: str
    version: str
    # The arguments between the interpreter and the options that both share.
    launch: tuple[str, ...]

    def missing(self) -> str | None:
        """Return how to install it, or None."""
        return installing.missing(self.name, self._requirement)

    def install(self) -> None:
        """Install it into its own virtual environment."""
        installing.install_python(self.name, self._requirement)

    @property
    def _requirement(self) -> str:
        return f"{self.name}=={self.version}"

    def start(self, upstream_ports: list[int], folder: Path, cores: Cores) -> Running:
        """Start it with round robin over all upstreams (it has no weights), without history and traces."""
        port, metrics_port = free_ports(2)
        command: list[str | Path] = [installing.home(self.name) / "bin" / "python", *self.launch]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics_port)]
        command += ["--backend", "openai", "--policy", "round_robin"]
        command += ["--log-level", "error", "--history-backend", "none"]
        command += ["--worker-urls", *(f"http://127.0.0.1:{upstream}" for upstream in upstream_ports)]
        running = spawn(command, port=port, folder=folder, cores=cores, settings={})
        # It forwards the client's key, and requires one if none is configured.
        running.headers = {"authorization": "Bearer sk-upstream"}
        return await_first_answer(self.name, running, folder)


SGLANG_ROUTER = RouterTarget(
    name="sglang-router",
    version="0.3.2",
    # No limit on concurrent requests; the default limit of the other router is above every load here.
    launch=("-m", "sglang_router.launch_router", "--max-concurrent-requests", "-1"),
)
SMG = RouterTarget(name="smg", version="1.13.0", launch=("-m", "smg", "launch"))
