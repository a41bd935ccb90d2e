"""Forms are read within bounds of size, number of fields and time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from llm_gateway.console.forms.reading import read_form
from llm_gateway.core.errors import BadRequest, BodyTimedOut, BodyTooLarge


def request(*pieces: bytes, ends: bool = True) -> Request:
    """Return a request whose body comes in these pieces; without an end, nothing follows them."""
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or not ends}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def test_fields_arrive_in_pieces_and_the_last_of_a_name_counts() -> None:
    assert await read_form(request(b"a=1&b", b"=%C3%A9+x&a=2&c=")) == {"a": "2", "b": "\xe9 x", "c": ""}


@pytest.mark.parametrize("body", [b"a=%ff", b"a=\xe9", b"&".join([b"a=1"] * 2001)])
async def test_what_no_browser_sends_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="cannot be read"):
        await read_form(request(body))


async def test_a_form_is_not_read_beyond_its_bound() -> None:
    with pytest.raises(BodyTooLarge, match="larger than 1 KiB"):
        await read_form(request(b"a=" + b"x" * 1000, b"x" * 100, ends=False), most_bytes=1024)


async def test_a_form_that_does_not_end_is_given_up() -> None:
    with pytest.raises(BodyTimedOut, match=r"within 0\.05 seconds"):
        await read_form(request(b"a=1", ends=False), timeout=0.05)
