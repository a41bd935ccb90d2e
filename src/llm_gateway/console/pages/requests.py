"""Usage rows, and one request with its attempts."""

from __future__ import annotations

from typing import Final

from starlette.routing import Route

ROUTES: Final[list[Route]] = []
