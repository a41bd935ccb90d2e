"""Reads what a form sent."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request

from llm_gateway.core.errors import BadRequest, BodyTooLarge

_LARGEST = 2 * 1024 * 1024
_MOST_FIELDS = 2000


async def read_form(request: Request) -> Mapping[str, str]:
    """Return the fields of a form; of one that is sent several times, the last. Raises BadRequest."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST:
            raise BodyTooLarge("This form is larger than 2 MiB. Use the admin API for so much at once.")
    try:
        fields = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise BadRequest("This form cannot be read. Reload the page and send it again.") from None
    return dict(fields)
