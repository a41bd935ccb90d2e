"""How the Messages API's replies, events and token counts are decoded."""

from __future__ import annotations

import msgspec
import pytest

from llm_gateway.core.ledger.usage import Usage
from llm_gateway.wire.anthropic_messages.messages import (
    UNREADABLE,
    OutputDetails,
    WireUsage,
    decode_event,
    decode_reply,
    usage_from_wire,
)


def test_cached_and_thinking_tokens_are_part_of_the_totals() -> None:
    wire = WireUsage(
        input_tokens=50,
        cache_creation_input_tokens=248,
        cache_read_input_tokens=1800,
        output_tokens=503,
        output_tokens_details=OutputDetails(thinking_tokens=400),
    )
    assert usage_from_wire(wire) == Usage(
        prompt_tokens=2098, completion_tokens=503, total_tokens=2601, cached_tokens=1800, reasoning_tokens=400
    )


@pytest.mark.parametrize(
    "wire",
    [
        None,
        WireUsage(input_tokens=5),
        WireUsage(input_tokens=-1, output_tokens=1),
        WireUsage(input_tokens=1, output_tokens=-1),
        WireUsage(input_tokens=1, output_tokens=2**40 + 1),
    ],
)
def test_missing_and_implausible_counts_give_no_usage(wire: WireUsage | None) -> None:
    assert usage_from_wire(wire) is None


def test_thinking_tokens_are_at_most_the_completion() -> None:
    wire = WireUsage(input_tokens=1, output_tokens=3, output_tokens_details=OutputDetails(thinking_tokens=9))
    usage = usage_from_wire(wire)
    assert usage is not None
    assert usage.reasoning_tokens == 3


def test_later_counts_replace_earlier_ones_and_keep_the_rest() -> None:
    first = WireUsage(input_tokens=3, output_tokens=1)
    assert first.updated(WireUsage(output_tokens=7)) == WireUsage(input_tokens=3, output_tokens=7)
    assert first == WireUsage(input_tokens=3, output_tokens=1)


def test_unknown_fields_are_skipped_and_inputs_stay_raw() -> None:
    body = (
        b'{"type":"message","id":"m","model":"c","new":1,'
        b'"content":[{"type":"tool_use","id":"t","name":"f","input":{"n":1e400}}]}'
    )
    (block,) = decode_reply(body).content
    assert block.input == msgspec.Raw(b'{"n":1e400}')


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000, b'{"type":"error"}'])
def test_a_body_that_is_not_a_reply_is_unreadable(body: bytes) -> None:
    with pytest.raises(UNREADABLE):
        decode_reply(body)


def test_an_event_needs_a_type() -> None:
    assert decode_event(b'{"type":"ping"}').type == "ping"
    with pytest.raises(UNREADABLE):
        decode_event(b'{"index":1}')
