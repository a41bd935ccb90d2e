"""What happens in the gateway now, and what happened before."""

from __future__ import annotations

from typing import Final

from starlette.routing import Route

ROUTES: Final[list[Route]] = []
