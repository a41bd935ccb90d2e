"""How the Messages API's replies, events and token counts are decoded."""

from __future__ import annotations

import msgspec
import pytest

from llm_gateway.wire.anthropic_messages.messages import (
    UNREADABLE,
    decode_event,
    decode_reply,
)


def test_unknown_fields_are_skipped_and_inputs_stay_raw() -> None:
    body = (
        b'{"type":"message","id":"m","model":"c","new":1,'
        b'"content":[{"type":"tool_use","id":"t","name":"f","input":{"n":1e400}}]}'
    )
    content = decode_reply(body).content
    assert content is not None
    assert content[0].input == msgspec.Raw(b'{"n":1e400}')


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000, b"[]"])
def test_a_body_that_is_not_a_reply_is_unreadable(body: bytes) -> None:
    with pytest.raises(UNREADABLE):
        decode_reply(body)


def test_an_event_without_a_type_has_an_empty_one() -> None:
    assert decode_event(b'{"type":"ping"}').type == "ping"
    assert decode_event(b'{"type":7,"index":1}').type == ""
    with pytest.raises(UNREADABLE):
        decode_event(b"7")
