"""The bodies of queries and cost estimates, checked and in one form."""

from __future__ import annotations

import re
from decimal import ROUND_FLOOR, Decimal, InvalidOperation, localcontext
from typing import Final

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.core.money import InvalidAmount, read_usd, usd_text
from llm_gateway.surfaces.translating.bodies import read_body

# Characters of names: of models, task types, tenants and requests.
LONGEST_NAME: Final = 256
LONGEST_REQUEST_ID: Final = 128
MOST_TOKENS: Final = 1_000_000
HIGHEST_TEMPERATURE: Final = 2
# Characters of an amount.
_LONGEST_AMOUNT: Final = 100
_NANO: Final = Decimal("1e-9")
# Enough for all amounts that there are, with their nine decimals.
_LARGEST_EXPONENT: Final = 20
_DIGITS: Final = 40
_NULL: Final = msgspec.Raw(b"null")
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A query, whichever endpoint it came by; None = not stated."""

    text: str
    model: str | None = None
    model_version: str | None = None
    task_type: str | None = None
    request_id: str | None = None
    tenant: str | None = None
    # Decimal USD.
    max_cost_usd: str | None = None
    is_dry_run: bool = False
    is_streamed: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    expected_response_tokens: int | None = None


class _Body(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    query: str
    model: str | None = None
    task_type: str | None = None
    request_id: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    stream: bool | None = None


class _GatewayBody(_Body, kw_only=True, forbid_unknown_fields=True):
    model_version: str | None = None
    max_cost_usd: msgspec.Raw = _NULL
    dry_run: bool | None = None
    tenant: str | None = None


class _EstimateBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    query: str
    model: str | None = None
    model_version: str | None = None
    task_type: str | None = None
    expected_response_tokens: int | None = None
    max_tokens: int | None = None
    request_id: str | None = None


_FIELDS: Final = {kind: kind.__struct_fields__ for kind in (_Body, _GatewayBody, _EstimateBody)}
_query = msgspec.json.Decoder(_Body)
_gateway_query = msgspec.json.Decoder(_GatewayBody)
_estimate = msgspec.json.Decoder(_EstimateBody)


def read_query(body: bytes) -> Query:
    """Return the query of POST /api/query; raise BadRequest that names the field."""
    return _query_of(read_body(body, _query, _FIELDS[_Body]))


def read_gateway_query(body: bytes) -> Query:
    """Return the query of POST /v1/gateway/query; raise BadRequest that names the field."""
    given = read_body(body, _gateway_query, _FIELDS[_GatewayBody])
    return msgspec.structs.replace(
        _query_of(given),
        model_version=_name("model_version", given.model_version),
        tenant=_name("tenant", given.tenant),
        max_cost_usd=_amount(given.max_cost_usd),
        is_dry_run=bool(given.dry_run),
    )


def read_estimate(body: bytes) -> Query:
    """Return the query of POST /v1/gateway/cost-estimate; raise BadRequest that names the field."""
    given = read_body(body, _estimate, _FIELDS[_EstimateBody])
    return Query(
        text=_text(given.query),
        model=_name("model", given.model),
        model_version=_name("model_version", given.model_version),
        task_type=_name("task_type", given.task_type),
        request_id=_name("request_id", given.request_id, LONGEST_REQUEST_ID),
        is_dry_run=True,
        max_tokens=_count("max_tokens", given.max_tokens, 1),
        expected_response_tokens=_count("expected_response_tokens", given.expected_response_tokens, 0),
    )


def _query_of(given: _Body) -> Query:
    """Return what the bodies of both query endpoints have."""
    return Query(
        text=_text(given.query),
        model=_name("model", given.model),
        task_type=_name("task_type", given.task_type),
        request_id=_name("request_id", given.request_id, LONGEST_REQUEST_ID),
        is_streamed=bool(given.stream),
        max_tokens=_count("max_tokens", given.max_tokens, 1),
        temperature=_temperature(given.temperature),
    )


def _text(text: str) -> str:
    if not text or text.isspace():
        raise BadRequest("The field 'query' is empty; send the text of the query.", param="query")
    return text


def _name(field: str, value: str | None, longest: int = LONGEST_NAME) -> str | None:
    """Return a name; clients may send an empty one for none."""
    if not value:
        return None
    if len(value) > longest or not value.isprintable():
        message = f"The field '{field}' must have at most {longest} characters, and printable ones only."
        raise BadRequest(message, param=field)
    return value


def _count(field: str, value: int | None, least: int) -> int | None:
    if value is not None and not least <= value <= MOST_TOKENS:
        message = f"The field '{field}' must be {least} to {MOST_TOKENS}, not {str(value)[:20]}."
        raise BadRequest(message, param=field)
    return value


def _temperature(value: float | None) -> float | None:
    if value is not None and not 0 <= value <= HIGHEST_TEMPERATURE:
        message = f"The field 'temperature' must be 0 to {HIGHEST_TEMPERATURE}, not {value:g}."
        raise BadRequest(message, param="temperature")
    return value


def _amount(raw: msgspec.Raw) -> str | None:
    """Return an amount as it was written, a JSON number or a string that holds one, down to a billionth."""
    text = bytes(raw).decode()
    if text == "null":
        return None
    if text.startswith('"'):
        text = msgspec.json.decode(raw, type=str).strip()
    if len(text) > _LONGEST_AMOUNT or not _NUMBER.fullmatch(text):
        message = "The field 'max_cost_usd' must be an amount in USD, such as 0.10."
        raise BadRequest(message, param="max_cost_usd")
    if text.startswith("-"):
        raise BadRequest("The field 'max_cost_usd' must not be negative.", param="max_cost_usd")
    try:
        return usd_text(read_usd(_rounded_down(Decimal(text))))
    except (InvalidAmount, InvalidOperation) as error:
        problem = str(error) if isinstance(error, InvalidAmount) else "is out of range"
        raise BadRequest(f"The field 'max_cost_usd' {problem}.", param="max_cost_usd") from None


def _rounded_down(amount: Decimal) -> Decimal:
    """Return an amount without what is finer than a nano-dollar: programs that compute it leave such digits."""
    if amount.adjusted() < _NANO.adjusted():
        return Decimal(0)
    if amount.adjusted() > _LARGEST_EXPONENT:
        return amount
    with localcontext(prec=_DIGITS):
        return amount.quantize(_NANO, ROUND_FLOOR)
