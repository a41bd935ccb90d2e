"""What the server and the dispatcher leave in a request's scope."""

from __future__ import annotations

import pytest

from llm_gateway.http.types import Scope, exchange_of, request_id_of, set_request_id
from tests.fakes.asgi import FakeExchange, http_scope


def test_the_servers_extension_is_found() -> None:
    exchange = FakeExchange()
    assert exchange_of(exchange.extend(http_scope("GET", "/"))) is exchange


@pytest.mark.parametrize("scope", [{}, {"extensions": None}, {"extensions": {"http.response.push": {}}}])
def test_other_servers_have_no_extension(scope: Scope) -> None:
    assert exchange_of(scope) is None


def test_the_request_id_is_kept_in_the_scope() -> None:
    scope = http_scope("GET", "/")
    assert request_id_of(scope) == ""
    set_request_id(scope, "an-id")
    assert request_id_of(scope) == "an-id"
