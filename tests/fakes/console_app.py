"""The console over fakes, without a server: pages are asked for with httpx."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

import httpx

from llm_gateway.console.app import make_console
from llm_gateway.console.services import ConsoleServices
from llm_gateway.core.errors import RateLimited, Unauthenticated
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.sessions import Role, Session
from llm_gateway.flow.sessions import SignedIn
from llm_gateway.http.client_address import TrustedProxies

ORIGIN = "http://gateway.test"
COOKIE = "llm-gateway-session"


class FakeSessions:
    """Tokens are the roles they open; the key `admin` opens a session, `slow down` is limited."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def sign_in(self, key: str, client_ip: str | None) -> SignedIn:
        del client_ip
        if key == "slow down":
            raise RateLimited("Too many failed attempts to sign in. Try again in 7 seconds.", retry_after=7)
        if key != "admin":
            raise Unauthenticated("This key does not open the console.")
        return SignedIn(Secret("admin"), session("admin"))

    async def find(self, token: str) -> Session | None:
        if token in self.ended:
            return None
        if token == "admin":
            return session("admin")
        return session("viewer") if token == "viewer" else None

    async def sign_out(self, token: str) -> bool:
        self.ended.append(token)
        return True

    async def revoke(self, session_id: str) -> bool:
        self.ended.append(session_id)
        return session_id == "admin-session"

    async def active(self) -> list[Session]:
        return [session("admin"), session("viewer")]


def session(role: Role) -> Session:
    """Return an open session of a role."""
    return Session(
        id=f"{role}-session",
        role=role,
        created_at=1_700_000_000_000_000,
        last_seen_at=1_700_000_060_000_000,
        expires_at=1_700_043_200_000_000,
        client_ip="192.0.2.7",
    )


def services(**others: Any) -> ConsoleServices:
    """Return the services of a console, those that are not given without any behaviour."""
    given: dict[str, Any] = {
        "sessions": FakeSessions(),
        "proxies": TrustedProxies(("127.0.0.1",)),
        "version": "1.2.3",
        "time_zone": "UTC",
    }
    names = ConsoleServices.__dataclass_fields__
    return ConsoleServices(**{name: Mock(name=name) for name in names} | given | others)


@asynccontextmanager
async def browser(
    made: ConsoleServices | None = None, *, role: Role | None = "admin", root: str = ""
) -> AsyncIterator[httpx.AsyncClient]:
    """Open a browser that is signed in with a role, or not at all; forms come from the console's own pages."""
    app = make_console(made or services())
    transport = httpx.ASGITransport(app, root_path=root, raise_app_exceptions=True)
    headers = {"origin": ORIGIN}
    cookies: dict[str, str] = {} if role is None else {COOKIE: role}
    async with httpx.AsyncClient(
        transport=transport, base_url=ORIGIN, headers=headers, cookies=cookies
    ) as client:
        yield client
