"""One chunk of a streamed chat or completion; a field of an unknown shape does not hide the others."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from llm_gateway.core.model_request import ModelRequest
from llm_gateway.wire.openai_chat.finish_reasons import FinishReason, ending_reason
from llm_gateway.wire.openai_chat.usage import BilledUsage, WireUsage
from llm_gateway.wire.token_counts import OddCount, OddObject

_T = TypeVar("_T", bound=msgspec.Struct)
_NOTHING = frozenset({b"null", b'""', b"[]", b"{}", b"false"})
_FILLED: Final = msgspec.Raw(b"true")
_EMPTY: Final = msgspec.Raw(b"null")
_NO_DELTA: Final[dict[str, msgspec.Raw]] = {}


class Choice(msgspec.Struct, gc=False):
    """One choice of a chunk."""

    index: int = 0
    delta: dict[str, msgspec.Raw] | None = None
    text: str | None = None
    # Of a chunk that was read loosely: any reason that ends the choice.
    finish_reason: FinishReason | None = None
    # With any other value the chunk is read loosely.
    message: None = None
    error: None = None
    # Moonshot's place for it.
    usage: WireUsage | OddObject = None


class GroqUsage(msgspec.Struct, gc=False):
    """Groq's own field."""

    usage: WireUsage | OddObject = None


class Chunk(msgspec.Struct, gc=False):
    """One chunk. `choices` is None in what is no chunk."""

    choices: list[Choice] | None = None
    usage: WireUsage | OddObject = None
    # Groq's own place, one chunk before the usual one.
    x_groq: GroqUsage | OddObject = None
    error: None = None
    service_tier: OddCount = None


class BilledChunk(Chunk, gc=False):
    """One chunk of a provider that states costs."""

    usage: BilledUsage | OddObject = None


decode_chunk = msgspec.json.Decoder(Chunk).decode
decode_billed_chunk = msgspec.json.Decoder(BilledChunk, float_hook=Decimal).decode
_decode_number = msgspec.json.Decoder(int | None).decode


def chunk_from(value: object, *, has_cost: bool = False) -> Chunk:
    """Return what can be read of a decoded chunk; `has_cost`: its provider states costs."""
    if not isinstance(value, dict):
        return Chunk(choices=[])
    choices = value.get("choices")
    return Chunk(
        choices=[_choice(one, place) for place, one in enumerate(choices) if isinstance(one, dict)]
        if isinstance(choices, list)
        else None,
        usage=_usage(value.get("usage"), BilledUsage if has_cost else WireUsage),
        x_groq=_converted(value.get("x_groq"), GroqUsage),
        service_tier=value.get("service_tier"),
    )


def own_usage(chunk: Chunk) -> WireUsage | OddObject:
    """Return the usage from one of the places where some servers put it."""
    groq, choices = chunk.x_groq, chunk.choices
    if groq is not None and isinstance(groq, GroqUsage):
        return groq.usage
    return choices[0].usage if choices else None


def expected_choices(request: ModelRequest) -> int:
    """Return the number of choices in a complete stream: `n` for each prompt."""
    number, prompt = request.fields.get("n"), request.fields.get("prompt")
    if number is None and prompt is None:
        return 1
    try:
        choices = 1 if number is None else _decode_number(number) or 1
        if prompt is not None and not request.traits.is_chat and bytes(prompt).startswith(b"["):
            prompts = msgspec.json.decode(prompt)
            if prompts and not isinstance(prompts[0], int):
                choices *= len(prompts)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 1
    return max(choices, 1)


def has_content(choice: Choice) -> bool:
    """Tell whether a choice has text, a tool call, anything else that is not empty, or its finish reason."""
    return choice.finish_reason is not None or has_text(choice)


def has_text(choice: Choice) -> bool:
    """Tell whether a choice has text, a tool call, or anything else that is not empty."""
    if choice.text:
        return True
    # No generator: to end one early costs more than all that it does.
    for name, value in (choice.delta or _NO_DELTA).items():  # noqa: SIM110
        if name != "role" and not _is_nothing(value):
            return True
    return False


def _is_nothing(value: msgspec.Raw) -> bool:
    text = bytes(value)
    return text in _NOTHING or (text[:1] in {b"[", b"{"} and not text[1:-1].strip())


def _choice(value: dict[str, Any], place: int) -> Choice:
    index, delta, text = value.get("index"), value.get("delta"), value.get("text")
    choice = Choice(
        index=index if type(index) is int else place,
        delta={name: _FILLED if one else _EMPTY for name, one in delta.items()}
        if isinstance(delta, dict)
        else None,
        text=text if isinstance(text, str) else None,
        usage=_converted(value.get("usage"), WireUsage),
    )
    # Not one of OpenAI's own, or it would have been decoded.
    choice.finish_reason = ending_reason(value.get("finish_reason"))  # type: ignore[assignment]
    return choice


def _usage(value: object, wanted: type[WireUsage]) -> WireUsage | OddObject:
    """Return the usage in a chunk; an empty one, which marks a usage chunk, for a value of another type."""
    return None if value is None else _converted(value, wanted) or WireUsage()


def _converted(value: object, wanted: type[_T]) -> _T | None:
    try:
        return msgspec.convert(value, wanted)
    except (msgspec.ValidationError, UnicodeEncodeError):
        return None
