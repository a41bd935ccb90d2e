"""nginx as a plain reverse proxy, without a gateway's work: the lower bound."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.machine import Cores, free_ports
from benchmarks.targets.base import WEIGHTS, Running, await_first_answer, spawn

_CONFIG = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_max_body_size 50m;
  client_body_buffer_size 256k;
  keepalive_requests 100000000;
  upstream providers {{
    {servers}
    keepalive 1024;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://providers;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


def _program() -> str | None:
    # Some accounts do not have the daemons' folder on their path.
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


class NginxTarget:
    """`proxy_pass` to the providers, by weight. It maps no model: the fake provider reads the public names."""

    name = "nginx"
    version = ""

    def missing(self) -> str | None:
        """Return why it cannot be measured here, or None."""
        return None if _program() else "install it with the system's package manager"

    def start(self, upstream_ports: list[int], folder: Path, cores: Cores) -> Running:
        """Start it in the foreground, one process."""
        port = free_ports(1)[0]
        servers = "\n    ".join(
            f"server 127.0.0.1:{upstream} weight={weight};"
            for upstream, weight in zip(upstream_ports, WEIGHTS, strict=True)
        )
        config = folder / "nginx.conf"
        config.write_text(_CONFIG.format(folder=folder, servers=servers, port=port))
        command: list[str | Path] = [_program() or "nginx", "-p", folder, "-c", config]
        running = spawn(command, port=port, folder=folder, cores=cores, settings={})
        return await_first_answer(self.name, running, folder, patience=10)
