"""The outermost ASGI callable: gives every request its id, finds its room, and lets no error out unrendered."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from loguru import logger

from llm_gateway.core.errors import MethodNotAllowed, Unauthenticated
from llm_gateway.core.secret import Secret
from llm_gateway.http.data_plane import Handler, internal_error
from llm_gateway.http.errors import send_error
from llm_gateway.http.request_context import bearer
from llm_gateway.http.types import AsgiApp, Message, Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class RouteTable:
    """Raw routes: `exact` by (method, path), `below` by (method, path prefix)."""

    # These meter and log themselves.
    metered: dict[tuple[str, str], Handler] = field(default_factory=dict)
    exact: dict[tuple[str, str], Handler] = field(default_factory=dict)
    below: dict[tuple[str, str], Handler] = field(default_factory=dict)

    @classmethod
    def joined(cls, tables: Iterable[RouteTable]) -> RouteTable:
        """Return one table with the routes of all."""
        joined = cls()
        for table in tables:
            joined.metered.update(table.metered)
            joined.exact.update(table.exact)
            joined.below.update(table.below)
        return joined


@dataclass(frozen=True, slots=True)
class Guard:
    """A Bearer token that paths under `prefixes` ask for, before anything of the request is read."""

    prefixes: tuple[str, ...]
    token: Secret
    # What the error calls it.
    name: str

    def refusal(self, scope: Scope) -> Unauthenticated | None:
        """Return the error for a request that does not bring the token."""
        given = next((bearer(value) for name, value in scope["headers"] if name == b"authorization"), None)
        if given is not None and hmac.compare_digest(given.encode(), self.token.reveal().encode()):
            return None
        message = f"This path needs the {self.name}: send it as 'Authorization: Bearer ...'."
        return Unauthenticated(message)


class UnmeteredRequest(NamedTuple):
    """A finished request that used no model: the admin API, lists of models, health, strangers' paths."""

    request_id: str
    method: str
    path: str
    status: int
    seconds: float
    client_ip: str | None


class Dispatcher:
    """Raw routes first, then the FastAPI application for everything else."""

    def __init__(
        self,
        routes: RouteTable,
        rest: AsgiApp,
        guards: tuple[Guard, ...],
        new_id: Callable[[], str],
        on_other: Callable[[UnmeteredRequest], None],
    ) -> None:
        """Dispatch to `routes`, else to `rest`, behind the `guards`; tell `on_other` of what has no meter."""
        self._on_other = on_other
        self._metered = routes.metered
        self._exact = routes.exact
        self._below = tuple(routes.below.items())
        self._rest = rest
        self._guards = guards
        self._new_id = new_id

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one HTTP request: return what is to be awaited, without a frame of its own around it."""
        handler = self._metered.get((scope["method"], scope["path"]), self._serve_other)
        return handler(scope, receive, send, self._new_id())

    def _handler(self, method: str, path: str) -> Handler | None:
        handler = self._exact.get((method, path))
        if handler is not None:
            return handler
        for (below_method, prefix), below in self._below:
            if method == below_method and _is_below(path, prefix):
                return below
        return None

    def _allowed(self, path: str) -> list[str]:
        methods = [method for method, known in (*self._metered, *self._exact) if known == path]
        return methods + [method for (method, prefix), _ in self._below if _is_below(path, prefix)]

    def _refusal(self, scope: Scope, path: str) -> Unauthenticated | None:
        for guard in self._guards:
            if path.startswith(guard.prefixes):
                return guard.refusal(scope)
        return None

    async def _serve_other(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started = time.monotonic()
        status = 0
        complete = False

        async def with_id(message: Message) -> None:
            nonlocal status, complete
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [pair for pair in message.get("headers", ()) if pair[0] != b"x-request-id"]
                message["headers"] = [*headers, (b"x-request-id", request_id.encode())]
            await send(message)

        path, method = scope["path"], scope["method"]
        refusal = self._refusal(scope, path)
        handler = self._handler(method, path)
        try:
            if refusal is not None:
                await send_error(with_id, refusal, request_id)
            elif handler is not None:
                await handler(scope, receive, with_id, request_id)
            elif allowed := self._allowed(path):
                error = MethodNotAllowed(f"{path} takes {', '.join(allowed)}, not {method}.")
                error.headers = ((b"allow", ", ".join(allowed).encode()),)
                await send_error(with_id, error, request_id)
            else:
                await self._rest(scope, receive, with_id)
        except Exception:
            logger.exception("Request {} failed by a fault of the gateway.", request_id)
            if complete:
                # FastAPI answers by the handler of framework_errors, and raises all the same.
                return
            if status:
                raise
            await send_error(with_id, internal_error(), request_id)
        finally:
            client = scope.get("client")
            seconds = time.monotonic() - started
            self._on_other(
                UnmeteredRequest(request_id, method, path, status, seconds, client[0] if client else None)
            )


def _is_below(path: str, prefix: str) -> bool:
    return path.startswith(prefix) and len(path) > len(prefix)
