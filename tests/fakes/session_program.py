"""One process of a gateway that signs in to the console: answers commands in lines of JSON.

Run as `python -m tests.fakes.session_program` with the gateway's settings. A command is `["sign_in", key, address]`,
`["find", token]`, `["sign_out", token]`, `["revoke", id]` or `["active"]`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from llm_gateway.app.keys import find_keys
from llm_gateway.app.wiring import make_wiring
from llm_gateway.cli.settings_loader import load_settings
from llm_gateway.core.errors import GatewayError
from llm_gateway.flow.sessions import Sessions


async def _answer(sessions: Sessions, command: str, *arguments: str) -> Any:
    try:
        found: Any = await getattr(sessions, command)(*arguments)
    except GatewayError as error:
        return {"error": error.code}
    if command == "sign_in":
        return {"token": found.token.reveal(), "id": found.session.id, "role": found.session.role}
    return msgspec.to_builtins(found)


async def _run() -> None:
    settings = load_settings()
    async with AsyncExitStack() as stack:
        wiring = await make_wiring(settings, find_keys(settings), stack)
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await _answer(wiring.sessions, *json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(_run())
