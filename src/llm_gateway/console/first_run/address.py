"""Where clients reach the gateway."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request

from llm_gateway.console.security import is_secure
from llm_gateway.console.services import root_of

# Anything else is no host, and does not belong in lines that are copied to a shell.
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
# Where the browser does not say its host.
_ANY_HOST: Final = "your-gateway"


def base_url(request: Request) -> str:
    """Return the address of the OpenAI-compatible API, as this browser reaches the gateway."""
    host = request.headers.get("host", "")
    scheme = "https" if is_secure(request) else "http"
    return f"{scheme}://{host if _HOST.fullmatch(host) else _ANY_HOST}{root_of(request)}/v1"
