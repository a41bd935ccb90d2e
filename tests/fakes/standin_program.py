"""A small program for the server to serve in a process of its own: `python -m tests.fakes.standin_program`.

Settings come from the environment; STANDIN_FAULT=prepare|start|worker makes it fail there.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from loguru import logger

from llm_gateway.cli.settings_loader import load_settings
from llm_gateway.server.http1.limits import HttpLimits
from llm_gateway.server.processes.listener import CannotServe
from llm_gateway.server.processes.serve import serve
from llm_gateway.sockets.write_batch import WriteBatch
from tests.fakes.served import Receive, Scope, Send

FAULT = os.environ.get("STANDIN_FAULT", "")


class StandInApp:
    """Answers /pid, /ready, /environment, /stream (ends when draining), /endless; counts what is in flight."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self.in_flight += 1
        try:
            await self._answer(scope["path"], send)
        finally:
            self.in_flight -= 1

    def share_writes(self, batch: WriteBatch) -> None:
        """Write nothing but replies."""

    async def drain(self, timeout: float) -> None:
        self.draining = True
        deadline = asyncio.get_running_loop().time() + timeout
        while self.in_flight and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - short
            await asyncio.sleep(0.01)

    async def reload(self) -> None:
        print("reloaded", os.getpid(), flush=True)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        if FAULT == "start":
            await send({"type": "lifespan.startup.failed", "message": "the stand-in does not start"})
            return
        if FAULT == "worker":
            os._exit(9)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("put away", os.getpid(), flush=True)
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, path: str, send: Send) -> None:
        headers = [(b"content-type", b"text/plain")]
        if path in {"/stream", "/endless"}:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for number in range(10_000):
                await send({"type": "http.response.body", "body": b"%d\n" % number, "more_body": True})
                await asyncio.sleep(0.02)
                if number >= 25 and self.draining and path == "/stream":
                    break
            await send({"type": "http.response.body", "body": b"end\n"})
            return
        body = {"/pid": str(os.getpid()), "/environment": json.dumps(dict(os.environ))}.get(path, "")
        status = 503 if path == "/ready" and self.draining else 200
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body.encode()})


class StandIn:
    """Prepares by saying so, greets by writing the URL into the file that STANDIN_URL names."""

    def prepare(self) -> None:
        # As the gateway does: a server's process has no log of loguru's own.
        logger.add(sys.stderr)
        if FAULT == "prepare":
            raise CannotServe("the stand-in cannot prepare")
        print("prepared", os.getpid(), flush=True)

    def make_app(self) -> StandInApp:
        return StandInApp()

    async def greet(self, app: Any, url: str) -> None:
        assert isinstance(app, StandInApp)
        print("greeted", url, flush=True)
        Path(os.environ["STANDIN_URL"]).write_text(url)


def main() -> int:
    limits = HttpLimits(**json.loads(os.environ.get("STANDIN_LIMITS", "{}")))
    try:
        return serve(load_settings(), StandIn(), limits)
    except CannotServe as fault:
        print(fault, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
