"""What is left to do before the first request, and how clients connect."""

from __future__ import annotations

from typing import Final

from starlette.routing import Route

ROUTES: Final[list[Route]] = []
