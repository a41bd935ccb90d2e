"""Decides about request fields that a dialect does not support: rejected, or ignored and reported."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.wire.openai_chat.conversation import Conversation

# They concern storage, billing, speed or randomness: the answer is still correct without them.
IGNORABLE_FIELDS = frozenset(
    {
        "user", "metadata", "store", "seed", "service_tier", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "safety_identifier", "verbosity", "prediction",
    }
)  # fmt: skip
# Values that equal the default.
_NO_OP_VALUES = {
    "frequency_penalty": {b"0", b"0.0", b"-0", b"-0.0"},
    "presence_penalty": {b"0", b"0.0", b"-0", b"-0.0"},
    "logprobs": {b"false"},
    "top_logprobs": {b"0"},
    "logit_bias": {b"{}"},
    "modalities": {b'["text"]'},
    "echo": {b"false"},
    "best_of": {b"1"},
    "suffix": {b'""'},
}


def check_unsupported(
    provider: str, conversation: Conversation, carried: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return the names of ignored fields; raise BadRequest for a field whose loss would change the answer.

    `carried` are the fields of `conversation.rest` that the adapter sends itself; `provider` is the
    dialect's name for error messages.
    """
    known = frozenset(carried)
    ignored_fields = list(conversation.unknown)
    for name, raw in conversation.rest.items():
        if name in known or _is_no_op(name, raw):
            continue
        if name not in IGNORABLE_FIELDS:
            raise unsupported_field(provider, name)
        ignored_fields.append(name)
    return tuple(ignored_fields)


def unsupported_field(provider: str, field: str) -> BadRequest:
    """Return the error for a field that `provider` does not support."""
    message = (
        f"'{field}' is not supported by this model's provider, which uses {provider}; "
        "remove it or use a model of another provider."
    )
    return BadRequest(message, param=field, code="unsupported_by_provider")


def _is_no_op(name: str, raw: msgspec.Raw) -> bool:
    return bytes(raw).replace(b" ", b"") in _NO_OP_VALUES.get(name, ())
