"""Runs curl commands as documents print them, against one gateway."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from typing import Any

from tests.e2e.gateway_process import GatewayProcess

# Where the documents of the reference systems say that they listen.
_DOCUMENTED = re.compile(r"(?<=localhost:)(?:18000|8001|7007|8080)\b")


class CurlShell:
    """A shell in which commands run as they are written; only the port is the gateway's own."""

    def __init__(self, gateway: GatewayProcess, **variables: str) -> None:
        """`variables` are those that the commands use."""
        self._port = gateway.port
        self._environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "NO_PROXY": "*"} | variables

    def text(self, command: str, status: int = 200, *headers: str) -> str:
        """Run one command and return what it printed; the status must be as expected. `headers` are added."""
        written = _DOCUMENTED.sub(str(self._port), command).strip()
        assert written != command.strip(), "the command names no documented port"
        added = "".join(f" -H {shlex.quote(header)}" for header in headers)
        done = subprocess.run(
            ["/bin/sh", "-c", f"{written}{added} -sS -w '\\n%{{http_code}}'"],
            env=self._environment,
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        printed, _, code = done.stdout.decode().rpartition("\n")
        assert code == str(status), printed
        return printed

    def json(self, command: str, status: int = 200, *headers: str) -> Any:
        """Run one command and return the JSON that it printed."""
        return json.loads(self.text(command, status, *headers))
