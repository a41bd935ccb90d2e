"""Every address of the console, discovered from its own routes, so that a new page cannot go without these tests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from starlette.routing import Route

from llm_gateway.console.app import make_console
from llm_gateway.console.services import ConsoleServices

# Addresses of the method GET that are no pages, and why.
NOT_PAGES: Final = {
    "/": "leads to the console",
    "/console": "leads to the overview",
    "/console/": "leads to the overview",
    "/console/assets/{name}": "serves files",
    "/console/overview/live": "is a stream of events",
    "/console/first-run/live": "is a stream of events",
    "/console/playground/requests/{request_id}": "is a part of the playground",
    "/console/requests/export": "is a file",
    "/console/requests/{request_id}/value": "is the whole of a text that a page cuts",
    "/console/configuration/versions/{version:id}/value": "is the whole of a text that a page cuts",
}
# The resources with a list, forms and a page to delete at; their noun is that of the admin API.
_OF_A_ROW: Final = re.compile(r"/console/(?:[a-z-]+/)*(?P<noun>[a-z-]+)/\{id(:id)?\}")
# Parameters of single pages, as `Scene.places` names their values.
_PARAMETERS: Final = re.compile(r"\{(?P<name>[a-z_]+)(:[a-z]+)?\}")


def routes() -> list[Route]:
    """Return the routes of the console."""
    frame: Any = make_console(cast("ConsoleServices", None))
    return [route for route in frame._app.routes if isinstance(route, Route)]


def _paths(method: str) -> list[str]:
    return list(dict.fromkeys(route.path for route in routes() if method in (route.methods or ())))


def pages() -> list[str]:
    """Return the paths, with their parameters, of all pages."""
    return [path for path in _paths("GET") if path not in NOT_PAGES]


def for_writing() -> list[str]:
    """Return the paths of pages that are nothing but a form, so that viewers are not led there."""
    taken = set(writes())
    return [path for path in pages() if path in taken and not path.endswith(("}", "/playground"))]


def writes() -> list[str]:
    """Return the paths, with their parameters, that take forms."""
    return _paths("POST")


def fill(path: str, places: Mapping[str, str]) -> str:
    """Return the address of a path with parameters; KeyError with what to add to the scene."""
    row = _OF_A_ROW.match(path)
    if row is not None:
        path = f"{path[: row.end('noun')]}/{_value(places, row['noun'])}{path[row.end() :]}"
    return _PARAMETERS.sub(lambda match: _value(places, match["name"]), path)


def _value(places: Mapping[str, str], name: str) -> str:
    if name not in places:
        message = f"add a value for {name} to Scene.places in tests/console/scene.py"
        raise KeyError(message)
    return places[name]


def of_signed_in(paths: Iterable[str]) -> list[str]:
    """Return those that are only for whoever has signed in."""
    return [path for path in paths if path != "/console/sign-in"]
