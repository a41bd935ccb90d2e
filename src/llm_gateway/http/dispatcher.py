"""The outermost ASGI application: assigns request ids, finds handlers, and turns their errors into responses."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from llm_gateway.core.errors import GatewayError, MethodNotAllowed
from llm_gateway.flow.ports.dialect import ErrorFormat
from llm_gateway.http.auth import Guard
from llm_gateway.http.data_plane import Handler
from llm_gateway.http.disconnect import CancelOnDisconnect
from llm_gateway.http.errors import TrackedSend, send_error_unless_begun
from llm_gateway.http.types import AsgiApp, Receive, Scope, Send, exchange_of, set_request_id


@dataclass(frozen=True, slots=True)
class RouteTable:
    """Raw routes by (method, path), or by (method, path prefix)."""

    # These write usage records and render their errors themselves.
    metered: dict[tuple[str, str], Handler] = field(default_factory=dict)
    # The dispatcher renders the errors that these raise.
    exact: dict[tuple[str, str], Handler] = field(default_factory=dict)
    prefix: dict[tuple[str, str], Handler] = field(default_factory=dict)
    # The error format on the paths of this table and below `root`; None = the dispatcher's.
    errors: ErrorFormat | None = None
    # A prefix of all paths that belong to this table, including unknown ones; None = no such prefix.
    root: str | None = None

    def paths(self) -> Iterator[tuple[str, bool]]:
        """Yield every path, and whether it is a prefix."""
        for _, path in (*self.metered, *self.exact):
            yield path, False
        for _, path in self.prefix:
            yield path, True
        if self.root is not None:
            yield self.root, True


class UnmeteredRequest(NamedTuple):
    """A finished request without a usage record: the admin API, model lists, health checks, unknown paths."""

    request_id: str
    method: str
    path: str
    status: int
    seconds: float
    client_ip: str | None


class Dispatcher:
    """Serves raw routes itself and passes everything else to the FastAPI application (`fallback`)."""

    def __init__(
        self,
        tables: Iterable[RouteTable],
        fallback: AsgiApp,
        guards: tuple[Guard, ...],
        errors: ErrorFormat,
        new_id: Callable[[], str],
        on_unmetered: Callable[[UnmeteredRequest], None],
    ) -> None:
        """Pass requests without a usage record to `on_unmetered`; `errors` is the format where no table has one."""
        self._metered: dict[tuple[str, str], Handler] = {}
        self._exact: dict[tuple[str, str], Handler] = {}
        self._prefixes: list[tuple[str, str, Handler]] = []
        # By path, or by prefix if the flag is set; the first match wins.
        self._formats: list[tuple[str, bool, ErrorFormat]] = []
        self._fallback = fallback
        self._guards = guards
        self._errors = errors
        self._new_id = new_id
        self._on_unmetered = on_unmetered
        for table in tables:
            self._add(table)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one HTTP request. Not `async`, which saves a frame per request."""
        handler = self._metered.get((scope["method"], scope["path"]), self._serve_unmetered)
        return handler(scope, receive, send, self._new_id())

    def _add(self, table: RouteTable) -> None:
        for (method, path), handler in table.metered.items():
            guard = self._guard(path)
            self._metered[method, path] = handler if guard is None else self._guarded(guard, handler)
        self._exact.update(table.exact)
        self._prefixes += [(method, path, handler) for (method, path), handler in table.prefix.items()]
        if table.errors is not None:
            self._formats += [(path, is_prefix, table.errors) for path, is_prefix in table.paths()]

    def _guarded(self, guard: Guard, handler: Handler) -> Handler:
        """Return a guarded handler of a metered route; routes without a guard have no overhead."""

        def serve(scope: Scope, receive: Receive, send: Send, request_id: str) -> Awaitable[None]:
            if guard.check(scope) is None:
                return handler(scope, receive, send, request_id)
            return self._serve_unmetered(scope, receive, send, request_id)

        return serve

    def _handler(self, method: str, path: str) -> Handler | None:
        handler = self._exact.get((method, path))
        if handler is not None:
            return handler
        return next(
            (found for its, prefix, found in self._prefixes if method == its and _is_below(path, prefix)),
            None,
        )

    def _allowed(self, path: str) -> list[str]:
        methods = [method for method, known in (*self._metered, *self._exact) if known == path]
        return methods + [method for method, prefix, _ in self._prefixes if _is_below(path, prefix)]

    def _guard(self, path: str) -> Guard | None:
        return next((guard for guard in self._guards if path.startswith(guard.prefixes)), None)

    def _errors_of(self, path: str) -> ErrorFormat:
        for known, is_prefix, errors in self._formats:
            if path == known or (is_prefix and path.startswith(known)):
                return errors
        return self._errors

    async def _serve_unmetered(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started = time.monotonic()
        tracked = TrackedSend(send, request_id)
        set_request_id(scope, request_id)
        path, method = scope["path"], scope["method"]
        try:
            guard = self._guard(path)
            if guard is not None and (refusal := guard.check(scope)) is not None:
                raise refusal
            if (handler := self._handler(method, path)) is not None:
                with CancelOnDisconnect(exchange_of(scope)):
                    await handler(scope, receive, tracked, request_id)
            elif allowed := self._allowed(path):
                raise _method_not_allowed(method, path, allowed)
            else:
                await self._fallback(scope, receive, tracked)
        except Exception as error:  # noqa: BLE001 - the last frame before the server
            await send_error_unless_begun(tracked, self._errors_of(path), error, request_id)
        finally:
            client = scope.get("client")
            seconds = time.monotonic() - started
            self._on_unmetered(
                UnmeteredRequest(
                    request_id, method, path, tracked.status, seconds, client[0] if client else None
                )
            )


def _method_not_allowed(method: str, path: str, allowed: list[str]) -> GatewayError:
    error = MethodNotAllowed(f"{path} takes {', '.join(allowed)}, not {method}.")
    error.headers = ((b"allow", ", ".join(allowed).encode()),)
    return error


def _is_below(path: str, prefix: str) -> bool:
    return path.startswith(prefix) and len(path) > len(prefix)
