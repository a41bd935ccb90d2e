"""The surfaces that the gateway serves; a new one is a folder and a line here."""

from __future__ import annotations

from typing import Final

from llm_gateway.surfaces.base import Surface
from llm_gateway.surfaces.openai.routes import OPENAI

SURFACES: Final[tuple[Surface, ...]] = (OPENAI,)
