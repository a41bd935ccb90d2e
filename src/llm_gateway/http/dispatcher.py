"""The outermost ASGI application: assigns request ids, finds handlers, and turns their errors into responses."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec

from llm_gateway.core.errors import GatewayError, MethodNotAllowed, NotFound, UpgradeRequired
from llm_gateway.flow.ports.dialect import ErrorFormat
from llm_gateway.flow.ports.listeners import notify
from llm_gateway.http.auth import Guard
from llm_gateway.http.client_address import TrustedProxies
from llm_gateway.http.disconnect import CancelOnDisconnect
from llm_gateway.http.errors import TrackedSend, send_error_unless_begun
from llm_gateway.http.meant_paths import MeantPaths
from llm_gateway.http.model_routes.data_plane import Handler
from llm_gateway.http.types import AsgiApp, Receive, Scope, Send, exchange_of, set_request_id

# Characters of a path in an error message.
_SHOWN = 200


class RouteTable(msgspec.Struct, frozen=True):
    """Raw routes by (method, path), or by (method, path prefix)."""

    # These write usage records and render their errors themselves.
    metered: dict[tuple[str, str], Handler] = {}
    # The dispatcher renders the errors that these raise.
    exact: dict[tuple[str, str], Handler] = {}
    prefix: dict[tuple[str, str], Handler] = {}
    # The error format on the paths of this table and below `root`; None = the dispatcher's.
    errors: ErrorFormat | None = None
    # A prefix of all paths that belong to this table, including unknown ones; None = no such prefix.
    root: str | None = None
    # Prefixes that may stand in the place of the root, such as "/openai/v1/".
    aliases: tuple[str, ...] = ()
    # Functions that find the metered handler of a path below a prefix; None = there is none.
    metered_below: dict[tuple[str, str], Callable[[str], Handler | None]] = {}

    def paths(self) -> Iterator[tuple[str, bool]]:
        """Yield every path, and whether it is a prefix."""
        for _, path in (*self.metered, *self.exact):
            yield path, False
        for _, path in (*self.prefix, *self.metered_below):
            yield path, True
        for root in (self.root, *self.aliases):
            if root is not None:
                yield root, True


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
        proxies: TrustedProxies | None = None,
    ) -> None:
        """Pass requests without a usage record to `on_unmetered`; `errors` is the format where no table has one."""
        self._metered: dict[tuple[str, str], Handler] = {}
        self._exact: dict[tuple[str, str], Handler] = {}
        self._prefixes: list[tuple[str, str, Handler]] = []
        # By path, or by prefix if the flag is set; the first match wins: paths come first, then longer prefixes.
        self._formats: list[tuple[str, bool, ErrorFormat]] = []
        self._meant: list[MeantPaths] = []
        self._roots: list[str] = []
        self._metered_below: list[tuple[str, str, Callable[[str], Handler | None]]] = []
        self._fallback = fallback
        self._guards = guards
        self._errors = errors
        self._new_id = new_id
        self._on_unmetered = on_unmetered
        self._proxies = proxies or TrustedProxies()
        for table in tables:
            self._add(table)
        # A path of one table may be below the root of another.
        self._formats.sort(key=lambda known: (known[1], -len(known[0])))

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one HTTP request. Not `async`, which saves a frame per request."""
        handler = self._metered.get((scope["method"], scope["path"]), self._serve_below)
        return handler(scope, receive, send, self._new_id())

    def _add(self, table: RouteTable) -> None:
        for (method, path), handler in table.metered.items():
            guard = self._guard(path)
            self._metered[method, path] = handler if guard is None else self._guarded(guard, handler)
        self._exact.update(table.exact)
        self._prefixes += [(method, path, handler) for (method, path), handler in table.prefix.items()]
        self._metered_below += [(method, path, find) for (method, path), find in table.metered_below.items()]
        if table.root is not None:
            self._roots += (table.root, *table.aliases)
            for alias in table.aliases:
                self._add_alias(table, table.root, alias)
            known = [path for _, path in (*table.metered, *table.exact)]
            prefixes = [path for _, path in table.prefix]
            self._meant.append(MeantPaths(table.root, known, prefixes))
        if table.errors is not None:
            self._formats += [(path, is_prefix, table.errors) for path, is_prefix in table.paths()]

    def _add_alias(self, table: RouteTable, root: str, alias: str) -> None:
        def named(path: str) -> str:
            return alias + path.removeprefix(root)

        for (method, path), handler in table.metered.items():
            self._metered[method, named(path)] = handler
        for (method, path), handler in table.exact.items():
            self._exact[method, named(path)] = _aliased(alias, root, handler)
        for (method, path), handler in table.prefix.items():
            self._prefixes.append((method, named(path), _aliased(alias, root, handler)))

    def _guarded(self, guard: Guard, handler: Handler) -> Handler:
        """Return a guarded handler of a metered route; routes without a guard have no overhead."""

        def serve(scope: Scope, receive: Receive, send: Send, request_id: str) -> Awaitable[None]:
            if guard.check(scope) is None:
                return handler(scope, receive, send, request_id)
            return self._serve_unmetered(scope, receive, send, request_id)

        return serve

    def _handler(self, method: str, path: str) -> Handler | None:
        """Return the handler; that of GET answers HEAD, whose body the server leaves out."""
        if method == "HEAD":
            method = "GET"
        handler = self._exact.get((method, path))
        if handler is not None:
            return handler
        return next(
            (found for its, prefix, found in self._prefixes if method == its and _is_below(path, prefix)),
            None,
        )

    def _allowed(self, path: str) -> list[str]:
        methods = [method for method, known in (*self._metered, *self._exact) if known == path]
        methods += [method for method, prefix, _ in self._prefixes if _is_below(path, prefix)]
        return [*methods, "HEAD"] if "GET" in methods else methods

    def _guard(self, path: str) -> Guard | None:
        return next((guard for guard in self._guards if path.startswith(guard.prefixes)), None)

    def _errors_of(self, path: str) -> ErrorFormat:
        for known, is_prefix, errors in self._formats:
            if path == known or (is_prefix and path.startswith(known)):
                return errors
        return self._errors

    def _serve_below(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> Awaitable[None]:
        """Serve a request that is not for a metered path, but may be for one below a prefix."""
        method, path = scope["method"], scope["path"]
        for its, prefix, find in self._metered_below:
            if method == its and path.startswith(prefix) and (handler := find(path)) is not None:
                return handler(scope, receive, send, request_id)
        return self._serve_unmetered(scope, receive, send, request_id)

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
            else:
                await self._serve_other(scope, receive, tracked)
        except Exception as error:  # noqa: BLE001 - the last frame before the server
            await send_error_unless_begun(tracked, self._errors_of(path), error, request_id)
        finally:
            seconds = time.monotonic() - started
            address = self._proxies.client_ip(scope)
            notify(
                self._on_unmetered,
                UnmeteredRequest(request_id, method, path, tracked.status, seconds, address),
            )

    async def _serve_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a path that is not in a table, or raise what is wrong with it."""
        path, method = scope["path"], scope["method"]
        allowed = self._allowed(path)
        is_open = self._guard(path) is None
        if is_open and _wants_websocket(scope) and (allowed or path.startswith(tuple(self._roots))):
            message = f"{path[:_SHOWN]} is not served over a WebSocket. Use HTTP; replies can be streamed."
            raise _upgrade_required(message)
        if allowed:
            raise _method_not_allowed(method, path, allowed)
        if is_open:
            for paths in self._meant:
                if (meant := paths.find(path)) is not None:
                    message = f"There is nothing at {path[:_SHOWN]}. Did you mean {meant}?"
                    if meant.startswith(paths.root):
                        message += f" A client's base URL ends in {paths.root.rstrip('/')}."
                    raise NotFound(message)
        if self._errors_of(path) is not self._errors and path.startswith(tuple(self._roots)):
            # Here, because the other application has errors of one format.
            raise NotFound(f"There is nothing at {path[:_SHOWN]}. GET /docs lists the paths.")
        changes: dict[str, str] = {}
        if method == "HEAD":
            changes["method"] = "GET"
        if path.endswith("/") and len(path) > 1 and scope.get("raw_path", b"/").endswith(b"/"):
            # Answered here: a redirect would name the host that the client claims to have asked.
            changes["path"] = path.rstrip("/")
        await self._fallback({**scope, **changes} if changes else scope, receive, send)


def _aliased(alias: str, root: str, handler: Handler) -> Handler:
    """Return a handler of paths below `alias`, which `handler` sees below `root`."""

    def serve(scope: Scope, receive: Receive, send: Send, request_id: str) -> Awaitable[None]:
        return handler({**scope, "path": root + scope["path"].removeprefix(alias)}, receive, send, request_id)

    return serve


def _wants_websocket(scope: Scope) -> bool:
    return scope["method"] == "GET" and any(
        name == b"upgrade" and b"websocket" in value.lower() for name, value in scope["headers"]
    )


def _upgrade_required(message: str) -> GatewayError:
    error = UpgradeRequired(message)
    # The protocol to use instead (RFC 9110, 15.5.22).
    error.headers = ((b"upgrade", b"HTTP/1.1"), (b"connection", b"upgrade"))
    return error


def _method_not_allowed(method: str, path: str, allowed: list[str]) -> GatewayError:
    error = MethodNotAllowed(f"{path} takes {', '.join(allowed)}, not {method}.")
    error.headers = ((b"allow", ", ".join(allowed).encode()),)
    return error


def _is_below(path: str, prefix: str) -> bool:
    return path.startswith(prefix) and len(path) > len(prefix)
