"""Joins the lines of served requests, for the journal and for the access log, from what is encoded ahead.

Texts that are encoded ahead are members of JSON objects, without the braces around them (`core.ledger.served`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec

from llm_gateway.core.ledger.records import Breakdown
from llm_gateway.core.ledger.served import members_of
from llm_gateway.core.money import usd_text

try:
    from llm_gateway.core.ledger import _served_lines as _compiled
except ImportError:
    # It was not compiled (docs/dependencies.md).
    _compiled = None  # type: ignore[assignment]
IS_COMPILED: Final = _compiled is not None

_encode: Final = msgspec.json.Encoder().encode
# The thousandths of a number with three places, as the shortest text of the number has them.
THOUSANDTHS: Final = tuple(repr(number / 1000)[1:] for number in range(1000))


class _NumberTexts(dict[int, str]):
    """The texts of whole numbers. Those of small ones are there: to format one takes ten times as long."""

    def __missing__(self, number: int) -> str:
        return str(number)


NUMBERS: Final = _NumberTexts((number, str(number)) for number in range(2048))
# The fractions of a second: formatting one takes ten times as long.
MILLISECONDS: Final = tuple(f".{ms:03d}Z" for ms in range(1000))
# What is said of most token counts beside prompt, completion and total.
_PLAIN: Final = ',"cached_tokens":0,"reasoning_tokens":0,"cache_write_tokens":0,"usage_source":"provider"'


def python_begin_line(
    request_id: str, created_at: int, known: str, client: str, request_bytes: int, started_at: int | None, /
) -> bytes:
    """Return the journal's line of an attempt that begins: an `AttemptBegun`.

    `known` is `KnownFacts.begin`, and `client` is `ClientFacts.members`.
    """
    started = "null" if started_at is None else started_at
    return (
        f'{{"t":"begin","request_id":"{request_id}","created_at":{created_at},{known},{client},'
        f'"request_bytes":{NUMBERS[request_bytes]},"started_at":{started}}}\n'
    ).encode()


def python_end_line(
    request_id: str,
    created_at: int,
    known: str,
    client: str,
    prompt_tokens: int,
    completion_tokens: int,
    total_tokens: int,
    cached_tokens: int,
    reasoning_tokens: int,
    cache_write_tokens: int,
    usage_source: str,
    temperature: str,
    started_at: int | None,
    cost_source: str | None,
    unpriced: str | None,
    price_version: str | None,
    cost_nano_usd: int | None,
    prompt_nano_usd: int | None,
    completion_nano_usd: int | None,
    breakdown: Breakdown | None,
    upstream_us: int,
    latency_us: int,
    first_token_us: int | None,
    request_bytes: int,
    response_bytes: int,
    /,
) -> bytes | None:
    """Return the journal's line of a served request: a `UsageRecord`.

    `known` is `KnownFacts.end`, `client` is `ClientFacts.members`, and `temperature` a `temperature_member` or empty.
    Where the prompt and the completion are all that was billed, their costs are given instead of a breakdown.
    None if what is said of the cost is not to be joined: it is too long, or a log could not hold it as it is.
    """
    cost = cost_members(cost_source, unpriced, price_version)
    if cost is None:
        return None
    if cost_nano_usd is not None:
        cost = f'{cost},"cost_nano_usd":{cost_nano_usd}'
        if prompt_nano_usd is not None:
            breakdown = {
                "input_tokens": (prompt_tokens, prompt_nano_usd),
                "output_tokens": (completion_tokens, completion_nano_usd or 0),
            }
        if breakdown is not None:
            cost = f'{cost},"cost_breakdown":{_encode(breakdown).decode()}'
    if cached_tokens or reasoning_tokens or cache_write_tokens or usage_source != "provider":
        parts = (
            f',"cached_tokens":{cached_tokens},"reasoning_tokens":{reasoning_tokens},'
            f'"cache_write_tokens":{cache_write_tokens},"usage_source":"{usage_source}"'
        )
    else:
        parts = _PLAIN
    started = "" if started_at is None else f',"attempt_started_at":{started_at}'
    ttft = "null"
    if first_token_us is not None:
        ttft = f"{NUMBERS[first_token_us // 1000]}{THOUSANDTHS[first_token_us % 1000]}"
    return (
        f'{{"t":"end","request_id":"{request_id}","created_at":{created_at},{known},{client},'
        f'"prompt_tokens":{NUMBERS[prompt_tokens]},"completion_tokens":{NUMBERS[completion_tokens]},'
        f'"total_tokens":{NUMBERS[total_tokens]}{parts}{temperature}{started}{cost},'
        f'"upstream_latency_ms":{NUMBERS[upstream_us // 1000]}{THOUSANDTHS[upstream_us % 1000]},'
        f'"latency_ms":{NUMBERS[latency_us // 1000]}{THOUSANDTHS[latency_us % 1000]},"ttft_ms":{ttft},'
        f'"request_bytes":{NUMBERS[request_bytes]},"response_bytes":{NUMBERS[response_bytes]}}}\n'
    ).encode()


def python_log_line(
    second: str,
    ms: int,
    request_id: str,
    client: str,
    known: str,
    prompt_tokens: int,
    completion_tokens: int,
    cost_nano_usd: int | None,
    latency_us: int,
    first_token_us: int | None,
    request_bytes: int,
    response_bytes: int,
    /,
) -> bytes:
    """Return the access log's line of a served request.

    `second` is when it was created, as RFC 3339 without a fraction, and `ms` are its milliseconds. `client` is
    `ClientFacts.members`, and `known` is `KnownFacts.log`.
    """
    price = "null" if cost_nano_usd is None else f'"{usd_text(cost_nano_usd)}"'
    ttft = "null"
    if first_token_us is not None:
        ttft = f"{NUMBERS[first_token_us // 1000]}{THOUSANDTHS[first_token_us % 1000]}"
    return (
        f'{{"time":"{second}{MILLISECONDS[ms]}","request_id":"{request_id}",{client},{known},'
        f'"prompt_tokens":{NUMBERS[prompt_tokens]},"completion_tokens":{NUMBERS[completion_tokens]},'
        f'"cost_usd":{price},"latency_ms":{NUMBERS[latency_us // 1000]}{THOUSANDTHS[latency_us % 1000]},'
        f'"ttft_ms":{ttft},"request_bytes":{NUMBERS[request_bytes]},"response_bytes":{NUMBERS[response_bytes]}}}\n'
    ).encode()


@lru_cache(maxsize=1024)
def cost_members(source: str | None, unpriced: str | None, version: str | None) -> str | None:
    """Return what is said of a cost beside its amount, with a comma before each member; None if it is too long."""
    said = {"cost_source": source, "unpriced": unpriced, "price_version": version}
    given = {name: value for name, value in said.items() if value is not None}
    members = members_of(given) if given else ""
    return f",{members}" if members else members


def temperature_member(temperature: float) -> str:
    """Return the temperature as a member, with a comma before it."""
    # 0.0 and -0.0 are equal, so that one would get the other's text.
    return _temperature_member(temperature) if temperature else f',"temperature":{temperature!r}'


@lru_cache(maxsize=1024, typed=True)
def _temperature_member(temperature: float) -> str:
    return f',"temperature":{temperature!r}'


begin_line: Callable[[str, int, str, str, int, int | None], bytes]
log_line: Callable[[str, int, str, str, str, int, int, int | None, int, int | None, int, int], bytes]
if IS_COMPILED:
    # For the lines that it leaves to Python.
    _compiled.configure(python_begin_line, python_end_line, python_log_line)
    begin_line, end_line, log_line = _compiled.begin_line, _compiled.end_line, _compiled.log_line
else:
    begin_line, end_line, log_line = python_begin_line, python_end_line, python_log_line
