"""Links within the console, which may stand behind a path prefix."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse

from llm_gateway.console.assets import ASSETS
from llm_gateway.console.services import root_of

HOME = "/console"
SIGN_IN = "/console/sign-in"


class Links:
    """Makes links of one request."""

    def __init__(self, request: Request) -> None:
        self._root = root_of(request)
        self.path = request.scope["path"]

    def url(self, path: str, **query: object) -> str:
        """Return the link to `path`, "/console/providers" for one; None and "" in `query` are left out."""
        given = {name: str(value) for name, value in query.items() if value not in {None, ""}}
        text = self._root + quote(path, safe="/:@!$&'()*+,;=-._~")
        return f"{text}?{urlencode(given)}" if given else text

    def asset(self, name: str) -> str:
        """Return the link to a file of `static/`."""
        return f"{self._root}/console/assets/{ASSETS[name].name}"

    def is_at(self, path: str) -> bool:
        """Tell whether the request is for `path` or below it."""
        return bool(self.path == path or self.path.startswith(f"{path}/"))


def see_other(request: Request, path: str, **query: object) -> RedirectResponse:
    """Redirect to `path` after a form was sent."""
    return RedirectResponse(Links(request).url(path, **query), status_code=303)


def safe_target(text: str | None) -> str:
    """Return the path to go to after signing in: a page of the console and nothing else."""
    if text is None or not text.startswith(HOME) or "\\" in text or not text.isprintable():
        return HOME
    path = unquote(urlsplit(text).path)
    if text[len(HOME) :][:1] not in {"", "/", "?"} or "//" in text or {".", ".."} & set(path.split("/")):
        return HOME
    return text
