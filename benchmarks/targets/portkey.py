"""Portkey's gateway on Node.js, balancing over all upstreams by weight."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from urllib.parse import quote

from benchmarks.machine import Cores, free_ports
from benchmarks.targets import installing
from benchmarks.targets.base import WEIGHTS, Running, await_first_answer, spawn

_PACKAGE = "@portkey-ai/gateway"
# It has no option for the listening address, and would listen on all of them.
_LOOPBACK_ONLY = """
import net from "node:net";
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, host, ...rest) {
  return listen.call(this, port, "127.0.0.1", ...rest);
};
"""


class PortkeyTarget:
    """Without changes. On Node 20 it answers every stream with 500 (its issue 1389): those show as failed."""

    name = "portkey"
    version = "1.15.2"

    def missing(self) -> str | None:
        """Return how to install it, or None."""
        return installing.missing(self.name, f"{_PACKAGE}@{self.version}")

    def install(self) -> None:
        """Install it into its own folder."""
        installing.install_npm(self.name, _PACKAGE, self.version)

    def start(self, upstream_ports: list[int], folder: Path, cores: Cores) -> Running:
        """Start it without its console."""
        port = free_ports(1)[0]
        program = installing.home(self.name) / "node_modules" / _PACKAGE / "build" / "start-server.js"
        preload = "data:text/javascript," + quote(_LOOPBACK_ONLY)
        node = shutil.which("node") or "node"
        command: list[str | Path] = [node, "--import", preload, program, "--headless", f"--port={port}"]
        settings = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}
        running = spawn(command, port=port, folder=folder, cores=cores, settings=settings)
        # Each request carries the routing: there is no other way to configure several upstreams.
        running.headers = {"x-portkey-config": json.dumps(_routing(upstream_ports), separators=(",", ":"))}
        return await_first_answer(self.name, running, folder)


def _routing(upstream_ports: list[int]) -> dict[str, object]:
    targets = [
        {
            "provider": "openai",
            "custom_host": f"http://127.0.0.1:{upstream}/v1",
            "api_key": "sk-upstream",
            "weight": weight,
        }
        for upstream, weight in zip(upstream_ports, WEIGHTS, strict=True)
    ]
    return {"strategy": {"mode": "loadbalance"}, "targets": targets}
