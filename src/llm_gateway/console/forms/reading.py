"""Reads what a form sent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request

from llm_gateway.core.errors import BadRequest, BodyTimedOut, BodyTooLarge

_LARGEST = 2 * 1024 * 1024
_MOST_FIELDS = 2000
_TIMEOUT = 60.0


async def read_form(
    request: Request, *, most_bytes: int = _LARGEST, timeout: float = _TIMEOUT
) -> Mapping[str, str]:
    """Return the fields of a form; of one that is sent several times, the last.

    Raises BadRequest, BodyTooLarge, or BodyTimedOut after `timeout` seconds.
    """
    try:
        async with asyncio.timeout(timeout):
            body = await _read(request, most_bytes)
    except TimeoutError:
        raise BodyTimedOut(
            f"This form did not arrive within {timeout:g} seconds. Send it again, over a faster connection."
        ) from None
    try:
        fields = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise BadRequest("This form cannot be read. Reload the page and send it again.") from None
    return dict(fields)


async def _read(request: Request, most_bytes: int) -> bytearray:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            size = f"{most_bytes // 1024**2} MiB" if most_bytes >= 1024**2 else f"{most_bytes // 1024} KiB"
            raise BodyTooLarge(f"This form is larger than {size}. Use the admin API for so much at once.")
    return body
