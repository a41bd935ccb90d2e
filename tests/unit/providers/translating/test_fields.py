"""Which unsupported request fields are rejected, which are ignored and reported, and which mean nothing."""

from __future__ import annotations

import msgspec
import pytest

from llm_gateway.core.errors import BadRequest
from llm_gateway.providers.translating.fields import check_unsupported
from llm_gateway.wire.openai_chat.conversation import Conversation


def conversation(*unknown: str, **rest: bytes) -> Conversation:
    return Conversation(
        messages=(), rest={name: msgspec.Raw(value) for name, value in rest.items()}, unknown=unknown
    )


def test_fields_that_change_no_answer_are_ignored_and_reported() -> None:
    asked = conversation("messages[0].audio", seed=b"1", store=b"true")
    assert check_unsupported("X", asked) == ("messages[0].audio", "seed", "store")


def test_a_field_that_changes_the_answer_is_rejected_by_name() -> None:
    with pytest.raises(BadRequest) as raised:
        check_unsupported("X", conversation(logit_bias=b'{"1":2}'))
    assert (raised.value.param, raised.value.code) == ("logit_bias", "unsupported_by_provider")
    assert raised.value.message == (
        "'logit_bias' is not supported by this model's provider, which uses X; "
        "remove it or use a model of another provider."
    )


@pytest.mark.parametrize("zero", [b"0", b"0.0", b"-0", b"-0.0"])
def test_a_penalty_of_zero_is_none(zero: bytes) -> None:
    assert check_unsupported("X", conversation(frequency_penalty=zero, presence_penalty=zero)) == ()


def test_default_values_and_carried_fields_are_neither() -> None:
    asked = conversation(logit_bias=b"{ }", logprobs=b"false", top_k=b"5")
    assert check_unsupported("X", asked, carried={"top_k"}) == ()
