"""Serves /docs and /openapi.json. The assets come from an installed package, so no network is needed."""

from __future__ import annotations

import asyncio
import json
import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, HTMLResponse, Response

from llm_gateway import __version__
from llm_gateway.core.errors import NotFound

_STATIC = Path(fastapi_offline.__file__).parent / "static"
_ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
_DESCRIPTION = (
    "OpenAI's API under /v1: set the base_url of an OpenAI SDK to it. The admin API under /admin/v1 manages "
    "providers and credentials, and shows usage."
)


def add_documentation(app: FastAPI, raw_paths: Callable[[], dict[str, Any]]) -> None:
    """Add /docs, its assets and /openapi.json; `raw_paths` describes the routes that FastAPI does not know."""

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root = _root_path(request)
        return get_swagger_ui_html(
            openapi_url=f"{root}/openapi.json",
            title="LLM gateway",
            swagger_js_url=f"{root}/docs/assets/swagger-ui-bundle.js",
            swagger_css_url=f"{root}/docs/assets/swagger-ui.css",
            swagger_favicon_url=f"{root}/docs/assets/favicon.png",
        )

    @app.get("/docs/assets/{name}", include_in_schema=False)
    async def asset(name: str) -> FileResponse:
        if name not in _ASSETS:
            message = f"There is no asset {name!r}."
            raise NotFound(message)
        return FileResponse(_STATIC / name, media_type=mimetypes.guess_type(name)[0])

    # Encoded once: it has hundreds of kilobytes, and anybody may ask for it.
    encoded: list[bytes] = []
    one_at_a_time = asyncio.Lock()

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request) -> Response:
        root = _root_path(request)
        async with one_at_a_time:
            if not encoded:
                encoded.append(
                    await asyncio.to_thread(lambda: json.dumps(_document(app, raw_paths(), root)).encode())
                )
        return Response(encoded[0], media_type="application/json")


def _root_path(request: Request) -> str:
    """Return the prefix that a proxy serves the gateway below; it is the same for all requests."""
    root: str = request.scope.get("root_path", "")
    return root


def _document(app: FastAPI, raw_paths: dict[str, Any], root_path: str) -> dict[str, Any]:
    document = get_openapi(
        title="LLM gateway",
        version=__version__,
        description=_DESCRIPTION,
        routes=app.routes,
        servers=[{"url": root_path}] if root_path else None,
    )
    document["paths"] = {**raw_paths, **document.get("paths", {})}
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["Credential"] = {"type": "http", "scheme": "bearer", "description": "A client's key (sk-...)."}
    schemes["Admin"] = {"type": "http", "scheme": "bearer", "description": "ADMIN_KEY; VIEWER_KEY for GET."}
    for path, operations in document["paths"].items():
        if path.startswith("/admin"):
            for operation in operations.values():
                operation["security"] = [{"Admin": []}]
    return document
