"""The headers that the gateway acts on, read once for equal heads of one connection."""

from __future__ import annotations

import pytest

from llm_gateway.core.errors import BadRequest
from llm_gateway.flow.ports.dialect import CostHeaders
from llm_gateway.http.model_routes.request_context import RequestContext, context_of, declared_length
from llm_gateway.infra.secrets.key_hashing import Blake2KeyHasher
from llm_gateway.surfaces.openai.dialect import CHAT
from tests.fakes.asgi import FakeExchange, http_scope


def context(*headers: tuple[bytes, bytes]) -> RequestContext:
    return RequestContext(http_scope("POST", "/v1/x", *headers), CHAT)


def test_c41_only_listed_headers_go_on() -> None:
    found = context(
        (b"authorization", b"Bearer sk-1"),
        (b"cookie", b"a=b"),
        (b"x-request-id", b"mine"),
        (b"traceparent", b"00-1"),
        (b"x-forwarded-for", b"1.2.3.4"),
    )
    assert found.forwarded == {"traceparent": "00-1"}
    assert (found.client_request_id, found.client_ip) == ("mine", "10.0.0.1")
    hasher = Blake2KeyHasher(b"pepper")
    assert found.api_key is not None
    assert found.api_key.digest(hasher) == found.api_key.digest(hasher) == hasher.hash("sk-1")


def test_a_request_without_headers_has_nothing() -> None:
    found = context()
    assert (found.api_key, found.client_request_id, found.content_encoding) == (None, None, None)
    assert (found.cache_directive, found.cost_headers, found.forwarded) == (None, None, {})
    scope = {**http_scope("POST", "/v1/x"), "client": None}
    assert RequestContext(scope, CHAT).client_ip is None


def test_directives_are_read_in_any_case() -> None:
    found = context((b"content-encoding", b" GZIP "), (b"x-llm-gateway-cache", b" Refresh"))
    assert (found.content_encoding, found.cache_directive) == (b"gzip", "refresh")


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (b" mine ", "mine"),
        (b"", None),
        (b"   ", None),
        (b"line\nbreak", None),
        (b"\x00", None),
        (b"a" * 200, "a" * 128),
        (b"caf\xe9", "caf\u00e9"),
    ],
)
def test_a_clients_request_id_is_printable_and_short(value: bytes, read: str | None) -> None:
    assert context((b"x-request-id", value)).client_request_id == read


def test_of_a_repeated_header_the_last_one_counts() -> None:
    assert context((b"x-request-id", b"one"), (b"x-request-id", b"two")).client_request_id == "two"


def test_equal_heads_share_a_context() -> None:
    exchange, scope = FakeExchange(), http_scope("POST", "/v1/x", (b"x-request-id", b"one"))
    exchange.head_state = {}
    first = context_of(scope, exchange, CHAT)
    assert first.client_request_id == "one"
    assert context_of(scope, exchange, CHAT) is first
    exchange.head_state = {}
    assert context_of(scope, exchange, CHAT) is not first


@pytest.mark.parametrize("exchange", [None, FakeExchange()])
def test_without_shared_state_every_head_is_read(exchange: FakeExchange | None) -> None:
    scope = http_scope("POST", "/v1/x")
    assert context_of(scope, exchange, CHAT) is not context_of(scope, exchange, CHAT)


@pytest.mark.parametrize(
    ("value", "length"), [(None, None), (b"12", 12), (b"0", 0), (b"-1", None), (b"1e3", None), (b"", None)]
)
def test_only_a_valid_content_length_counts(value: bytes | None, length: int | None) -> None:
    headers = () if value is None else ((b"content-length", value),)
    assert declared_length(http_scope("POST", "/v1/x", *headers)) == length


@pytest.mark.parametrize(
    ("headers", "read"),
    [
        (((b"x-client-request-id", b"codex"),), "codex"),
        (((b"x-ms-client-request-id", b"azure"),), "azure"),
        (((b"x-ms-client-request-id", b"azure"), (b"x-client-request-id", b"codex")), "codex"),
        (((b"x-client-request-id", b"codex"), (b"x-request-id", b"mine")), "mine"),
        (((b"x-client-request-id", b"codex"), (b"x-request-id", b"")), "codex"),
        (((b"x-client-request-id", b"\x01"), (b"x-ms-client-request-id", b"azure")), "azure"),
    ],
)
def test_clients_number_their_requests_in_several_headers(
    headers: tuple[tuple[bytes, bytes], ...], read: str
) -> None:
    found = context(*headers)
    assert (found.client_request_id, found.forwarded) == (read, {})


def test_c45_a_repeated_key_is_refused_where_it_is_needed() -> None:
    found = context((b"authorization", b"Bearer sk-1"), (b"authorization", b"Bearer sk-1"))
    assert found.api_key is not None
    with pytest.raises(BadRequest, match="Several Authorization headers"):
        found.api_key.digest(Blake2KeyHasher(b"pepper"))


def test_two_values_of_a_header_about_costs_are_no_value() -> None:
    """The last one must not turn a dry run into a request, or raise what it may cost."""
    twice = context((b"x-llm-gateway-dry-run", b"true"), (b"x-llm-gateway-dry-run", b"false"))
    assert twice.cost_headers == CostHeaders(dry_run="true, false")
    limits = context((b"x-llm-gateway-max-cost-usd", b"0.01"), (b"x-llm-gateway-max-cost-usd", b"1"))
    assert limits.cost_headers == CostHeaders(max_cost_usd="0.01, 1")
    same = context((b"x-llm-gateway-cost", b"on"), (b"x-llm-gateway-cost", b"ON"))
    assert same.cost_headers == CostHeaders(in_usage="on")


def test_headers_about_costs_are_read_together() -> None:
    assert context((b"x-llm-gateway-cost", b" ON")).cost_headers == CostHeaders(in_usage="on")
    both = context((b"x-llm-gateway-max-cost-usd", b"0.01 "), (b"x-llm-gateway-dry-run", b"TRUE"))
    assert both.cost_headers == CostHeaders(dry_run="true", max_cost_usd="0.01")
