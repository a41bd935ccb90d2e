"""Settles what becomes of request fields that a dialect has no word for: refused, or left out and said."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.wire.openai_chat.conversation import Conversation

# They say something about storage, billing, speed or luck, and nothing that an answer could be wrong by.
IGNORABLE_FIELDS = frozenset(
    {
        "user", "metadata", "store", "seed", "service_tier", "prompt_cache_key", "prompt_cache_retention",
        "safety_identifier", "verbosity", "prediction",
    }
)  # fmt: skip
# What a field may say without asking for anything.
_HARMLESS = {
    "frequency_penalty": {b"0", b"0.0"},
    "presence_penalty": {b"0", b"0.0"},
    "logprobs": {b"false"},
    "top_logprobs": {b"0"},
    "logit_bias": {b"{}"},
    "modalities": {b'["text"]'},
    "echo": {b"false"},
    "best_of": {b"1"},
    "suffix": {b'""'},
}


def settle(provider: str, conversation: Conversation, carried: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names of what is left out; raise BadRequest for what would change the answer.

    `carried` are the fields of `conversation.rest` that the adapter sends on itself; `provider` is the
    dialect's name as a client may read it.
    """
    known = frozenset(carried)
    ignored_fields = list(conversation.unknown)
    for name, raw in conversation.rest.items():
        if name in known or _asks_for_nothing(name, raw):
            continue
        if name not in IGNORABLE_FIELDS:
            raise unsupported_field(provider, name)
        ignored_fields.append(name)
    return tuple(ignored_fields)


def unsupported_field(provider: str, field: str) -> BadRequest:
    """Return the error for a field that would be lost on the way to a provider."""
    message = (
        f"The field '{field}' cannot be carried to this model's provider, which speaks {provider}. "
        "Leave it out, or use a model of another provider."
    )
    return BadRequest(message, param=field, code="unsupported_by_provider")


def _asks_for_nothing(name: str, raw: msgspec.Raw) -> bool:
    return bytes(raw).replace(b" ", b"") in _HARMLESS.get(name, ())
