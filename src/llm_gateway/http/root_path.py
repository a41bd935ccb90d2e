"""Serves an application below a path prefix, behind proxies that strip the prefix and behind those that do not."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

from llm_gateway.http.types import AsgiApp, Receive, Scope, Send


class UnderRootPath:
    """Strips `root_path` where a path begins with it, and sets `scope["root_path"]` for those that make links.

    The application never sees a path that begins with the prefix and a `root_path` together: Starlette would strip
    it once more, after the guards have looked at the path.
    """

    def __init__(self, app: AsgiApp, root_path: str) -> None:
        """`root_path` begins with a slash, and ends with none."""
        self._app = app
        self._root_path = root_path
        self._raw = root_path.encode("ascii")

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI entry point. Not `async`, to save a frame per request; returns the awaitable."""
        root, path = self._root_path, scope["path"]
        changes: dict[str, object] = {"root_path": root}
        if is_at_or_below(path, root):
            path = path[len(root) :] or "/"
            if is_at_or_below(path, root):
                # The prefix twice: nothing is there.
                return self._app(scope, receive, send)
            raw = scope.get("raw_path") or b""
            changes |= {"path": path, "raw_path": raw.removeprefix(self._raw) or b"/"}
        return self._app({**scope, **changes}, receive, send)


def is_at_or_below(path: str, prefix: str) -> bool:
    """Tell whether the path is the prefix, or begins with its segments."""
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/")


def overlapping(root_path: str, paths: Iterable[str]) -> str | None:
    """Return a path that nobody could tell from one below `root_path`, None if there is none."""
    for path in paths:
        known = path.rstrip("/")
        if known and (is_at_or_below(known, root_path) or is_at_or_below(root_path, known)):
            return path
    return None
