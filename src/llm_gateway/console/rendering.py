"""Renders pages with Jinja2: everything is escaped, and an undefined name is an error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from llm_gateway.console import meanings
from llm_gateway.console.formats import FILTERS
from llm_gateway.console.links import Links
from llm_gateway.console.navigation import SECTIONS
from llm_gateway.console.services import services_of, session_of

_FOLDER: Final = Path(__file__).parent / "templates"
_ENVIRONMENT: Final = Environment(
    # Read at once, as assets are: a process shows the pages of its own version while another one is being installed.
    loader=DictLoader(
        {path.relative_to(_FOLDER).as_posix(): path.read_text("utf-8") for path in _FOLDER.rglob("*.html")}
    ),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_ENVIRONMENT.filters.update(FILTERS)
_ENVIRONMENT.globals["meanings"] = meanings


def page(
    request: Request,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,  # noqa: ANN401 - what templates show
) -> HTMLResponse:
    """Return a page. Templates have `meanings`, `links`, `session` (None: signed out), `can_change` and `values`."""
    return HTMLResponse(fragment(request, template, **values), status, headers)


def fragment(request: Request, template: str, **values: Any) -> Markup:  # noqa: ANN401 - what templates show
    """Return a part of a page, for one that is open already."""
    session, services = session_of(request), services_of(request)
    common = {
        "links": Links(request),
        "sections": SECTIONS,
        "session": session,
        "can_change": session is not None and session.role == "admin",
        "version": services.version,
        "time_zone": services.time_zone,
    }
    text = _ENVIRONMENT.get_template(template).render(common | values)
    # Halves of surrogate pairs, which JSON can hold, cannot be sent. Escaped by its template, it is not escaped again
    # in the page around it.
    return Markup(text.encode("utf-8", "replace").decode())  # noqa: S704
