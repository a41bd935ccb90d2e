"""The console's styles, scripts and icons, named after their contents, so that a browser may keep them for good."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from llm_gateway.core.errors import NotFound

_FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HASH_CHARACTERS = 16
_FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is served."""

    # "console-0123456789abcdef.css"
    name: str
    media_type: str
    content: bytes


def load_assets(folder: Path = _FOLDER) -> Mapping[str, Asset]:
    """Return the files of `folder` by their plain names."""
    return {path.name: _load(path) for path in sorted(folder.iterdir()) if path.suffix in _TYPES}


def _load(path: Path) -> Asset:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:_HASH_CHARACTERS]
    return Asset(f"{path.stem}-{digest}{path.suffix}", _TYPES[path.suffix], content)


ASSETS: Final = load_assets()
_BY_NAME: Final = {asset.name: asset for asset in ASSETS.values()}


async def serve_asset(request: Request) -> Response:
    """Serve one file by its hashed name."""
    asset = _BY_NAME.get(request.path_params["name"])
    if asset is None:
        raise NotFound("There is no such file. Reload the page: the gateway was updated.")
    return Response(asset.content, media_type=asset.media_type, headers={"cache-control": _FOREVER})
