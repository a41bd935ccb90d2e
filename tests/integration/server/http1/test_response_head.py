"""A response header cannot inject another."""

from __future__ import annotations

import pytest

from tests.fakes.served import Receive, Scope, Send, served
from tests.fakes.served_apps import GET, reply


@pytest.mark.parametrize("header", [(b"x", b"a\r\nb: c"), (b"x", b"a\nb"), (b"x\r\ny", b"a"), (b"x", b"a\0")])
async def test_a_response_header_cannot_make_another(header: tuple[bytes, bytes]) -> None:
    async def splits(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"ok", 200, header)

    async with served(splits) as server:
        answer = await server.ask(GET)
        assert answer.status == 500
        assert "b" not in answer.headers
