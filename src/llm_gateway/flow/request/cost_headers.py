"""Obeys the headers about costs: show the cost, estimate it without sending the request, refuse what is too dear."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from llm_gateway.core.errors import BadRequest, CostRefused
from llm_gateway.core.money import InvalidAmount, read_usd, usd_text
from llm_gateway.flow.accounting.cost_estimate import CostEstimate, RoutedRequest, estimate_cost
from llm_gateway.flow.accounting.meter import Meter
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.dialect import CostHeaders
from llm_gateway.flow.request.reply import WholeReply

_OK = 200
_encode = msgspec.json.Encoder().encode
# Tokens of the shortest completion that a request is limited to, and the field that limits it.
_SHORTEST: Final = 16
_LIMIT: Final = "max_completion_tokens"
_SWITCH: Final = {"on": True, "off": False}
_TRUTH: Final = {"true": True, "false": False}


class CostOptions(msgspec.Struct, frozen=True, gc=False):
    """What a client asks for about costs."""

    # Whether the usage that a stream reports has the cost.
    in_usage: bool = False
    # Whether it asks for an estimate alone.
    is_dry_run: bool = False
    # What the request may cost.
    max_cost_nano_usd: int | None = None


def read_cost_options(headers: CostHeaders) -> CostOptions:
    """Return what `headers` ask for; raise BadRequest that names the header."""
    return CostOptions(
        _choice("x-llm-gateway-cost", headers.in_usage, _SWITCH),
        _choice("x-llm-gateway-dry-run", headers.dry_run, _TRUTH),
        None if headers.max_cost_usd is None else _amount(headers.max_cost_usd),
    )


def _choice(name: str, value: str | None, choices: dict[str, bool]) -> bool:
    if value is None:
        return False
    chosen = choices.get(value)
    if chosen is None:
        message = f"The header {name} must be {' or '.join(choices)}."
        raise BadRequest(message, code="invalid_header")
    return chosen


def _amount(value: str) -> int:
    try:
        amount = read_usd(value)
    except InvalidAmount as error:
        message = f"The header x-llm-gateway-max-cost-usd {error}."
        raise BadRequest(message, code="invalid_header") from None
    if amount < 0:
        message = "The header x-llm-gateway-max-cost-usd must not be negative."
        raise BadRequest(message, code="invalid_header")
    return amount


@lru_cache(maxsize=1024)
def cost_header(cost_nano_usd: int) -> tuple[bytes, bytes]:
    """Return the header that tells a client what its request cost."""
    return b"x-llm-gateway-cost-usd", usd_text(cost_nano_usd).encode()


async def obey_cost_headers(
    gateway: Gateway, headers: CostHeaders, routed: RoutedRequest, meter: Meter
) -> WholeReply | None:
    """Do what the client's headers ask for before a request is sent; return the answer to a dry run.

    Raise BadRequest for a header that cannot be understood, and CostRefused.
    """
    request, options = routed.request, read_cost_options(headers)
    meter.shows_cost = options.in_usage and (request.wants_usage or request.traits.reports_usage)
    dialect, max_cost = meter.call.dialect, options.max_cost_nano_usd
    if not options.is_dry_run and max_cost is None and dialect.take_estimate is None:
        return None
    # Counting tokens is work, too: no more of it than there may be requests.
    gateway.limit.check(routed.account)
    estimate = await estimate_cost(
        gateway, routed, expected_completion_tokens=headers.expected_completion_tokens
    )
    if max_cost is not None and headers.may_shorten:
        # A dry run, too: it says what would be sent.
        estimate = await _shortened(gateway, routed, estimate, max_cost, headers.expected_completion_tokens)
    if options.is_dry_run:
        return _dry_run_reply(estimate, routed, meter)
    if max_cost is not None:
        check_max_cost(estimate, max_cost, asked_by=dialect.max_cost_name)
    if dialect.take_estimate is not None:
        dialect.take_estimate(shown(estimate))
    return None


def _dry_run_reply(estimate: CostEstimate, routed: RoutedRequest, meter: Meter) -> WholeReply:
    """Return an estimate. Metrics and the access log have the request; the usage rows do not."""
    fields, encode = shown(estimate), meter.call.dialect.encode_estimate
    body = _encode(fields) if encode is None else encode(routed.request, fields)
    meter.stream = False
    meter.response_bytes = len(body)
    meter.report_dry_run()
    return WholeReply(_OK, body, body)


async def _shortened(
    gateway: Gateway,
    routed: RoutedRequest,
    estimate: CostEstimate,
    max_cost: int,
    expected_completion_tokens: int | None,
) -> CostEstimate:
    """Limit a request's completion to what `max_cost` nano-USD pay for; return the estimate of it as it is then.

    A completion of a few tokens is of no use: then the request stays as it is.
    """
    highest, limit = estimate.max_cost_nano_usd, estimate.max_completion_tokens
    if highest is None or limit is None or highest <= max_cost or limit <= _SHORTEST:
        return estimate
    fields = routed.request.fields
    own = fields.get(_LIMIT)
    fields[_LIMIT] = msgspec.Raw(b"%d" % _SHORTEST)
    least = await estimate_cost(gateway, routed, expected_completion_tokens=expected_completion_tokens)
    if least.max_cost_nano_usd is not None and least.max_cost_nano_usd <= max_cost:
        tokens, nano_usd = limit - _SHORTEST, highest - least.max_cost_nano_usd
        paid = _SHORTEST + (max_cost - least.max_cost_nano_usd) * tokens // nano_usd
        fields[_LIMIT] = msgspec.Raw(b"%d" % paid)
        shorter = await estimate_cost(gateway, routed, expected_completion_tokens=expected_completion_tokens)
        # Prices may be tiered; then fewer tokens may cost more than their share.
        if shorter.max_cost_nano_usd is not None and shorter.max_cost_nano_usd <= max_cost:
            return shorter
        fields[_LIMIT] = msgspec.Raw(b"%d" % _SHORTEST)
        return least
    if own is None:
        del fields[_LIMIT]
    else:
        fields[_LIMIT] = own
    return estimate


def check_max_cost(estimate: CostEstimate, max_cost: int, *, asked_by: str) -> None:
    """Raise CostRefused if a request might cost more than `max_cost` nano-USD, or that is not known.

    `asked_by` is the client's name for the bound.
    """
    highest = estimate.max_cost_nano_usd
    if highest is None:
        message = (
            f"{asked_by} cannot be kept, because the most that this request can cost is not known: "
            f"{estimate.unbounded}. Change that, or send the request without {asked_by}."
        )
        raise CostRefused(message, code="max_cost_unknown")
    if highest > max_cost:
        message = (
            f"This request can cost up to {usd_text(highest)} USD, and {asked_by} allows {usd_text(max_cost)} USD. "
            "Allow more, or lower max_tokens or the prompt."
        )
        raise CostRefused(message)


def shown(estimate: CostEstimate) -> dict[str, object]:
    """Return an estimate as clients see it: amounts are decimal USD."""
    fields = msgspec.structs.asdict(estimate)
    return {
        "object": "cost_estimate",
        **{name: value for name, value in fields.items() if not name.endswith("_nano_usd")},
        "priced": estimate.cost_nano_usd is not None,
        "cost_usd": _usd(estimate.cost_nano_usd),
        "max_cost_usd": _usd(estimate.max_cost_nano_usd),
    }


def _usd(nano_usd: int | None) -> str | None:
    return None if nano_usd is None else usd_text(nano_usd)
