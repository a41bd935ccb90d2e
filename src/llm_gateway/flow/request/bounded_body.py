"""Parses request bodies within bounds, and large ones off the event loop."""

from __future__ import annotations

from llm_gateway.core.config.snapshot import Principal
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.call import Call
from llm_gateway.flow.gateway import Gateway, Options
from llm_gateway.flow.ports.dialect import Attribution
from llm_gateway.flow.request.body_bounds import check_body_bounds, too_many_fields

Parsed = tuple[ModelRequest, Attribution]


def parse_bounded(call: Call, body: bytes, options: Options) -> Parsed:
    """Parse a body as `Dialect.read` does.

    Raise BadRequest when it has more fields than MAX_BODY_FIELDS or more values than MAX_BODY_VALUES.
    """
    if len(body) < options.small_body:
        return call.dialect.read(body, call)
    check_body_bounds(body, options.max_body_values)
    parsed = call.dialect.read(body, call)
    if len(parsed[0].fields) > options.max_body_fields:
        raise too_many_fields(options.max_body_fields)
    return parsed


async def parse_large(gateway: Gateway, account: Principal, call: Call, body: bytes) -> Parsed:
    """Parse a body of LARGE_BODY bytes or more in a thread; not at all when the account is at its limit already."""
    if account.is_limited:
        gateway.limit.check(account)
    return await gateway.heavy_work.run(parse_bounded, call, body, gateway.options)
