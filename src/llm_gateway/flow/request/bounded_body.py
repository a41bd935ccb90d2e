"""Parses request bodies that are large enough to need bounds: within them, and off the event loop."""

from __future__ import annotations

from llm_gateway.core.config.snapshot import Principal
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.call import Call
from llm_gateway.flow.gateway import Gateway, Options
from llm_gateway.flow.heavy_work import LARGE_BODY
from llm_gateway.flow.ports.dialect import Attribution
from llm_gateway.flow.request.body_bounds import check_body_bounds, too_many_fields

Parsed = tuple[ModelRequest, Attribution]


async def parse_bounded(gateway: Gateway, account: Principal, call: Call, body: bytes) -> Parsed:
    """Parse a body of `Options.small_body` bytes or more, as `Dialect.read` does.

    Raise BadRequest when it has more fields than MAX_BODY_FIELDS or more values than MAX_BODY_VALUES. A body of
    LARGE_BODY bytes or more is parsed in a thread, and not at all when the account is at its limit already.
    """
    if len(body) < LARGE_BODY:
        return _parse(call, body, gateway.options)
    if account.is_limited:
        gateway.limit.check(account)
    return await gateway.heavy_work.run(_parse, call, body, gateway.options)


def _parse(call: Call, body: bytes, options: Options) -> Parsed:
    check_body_bounds(body, options.max_body_values)
    parsed = call.dialect.read(body, call)
    if len(parsed[0].fields) > options.max_body_fields:
        raise too_many_fields(options.max_body_fields)
    return parsed
