"""The configuration in force, and its history."""

from __future__ import annotations

from typing import Final

from starlette.routing import Route

ROUTES: Final[list[Route]] = []
