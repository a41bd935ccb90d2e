"""Carries thinking through OpenAI's fields: out as `reasoning_details`, and back to its place among the blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.providers.anthropic.models import Effort, ModelCapabilities, is_same_model
from llm_gateway.wire.anthropic_messages.messages import Block
from llm_gateway.wire.raw_json import JsonObject

# The types of the blocks that have to be given back.
THINKING = frozenset({"thinking", "redacted_thinking"})
# The name that others give to details in this form.
_FORMAT = "anthropic-claude-v1"
_LEAST_BUDGET, _MOST_BUDGET = 1_024, 32_000
_SHARES = {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8, "xhigh": 0.95, "max": 0.95}
_EFFORTS: dict[str, tuple[Effort, ...]] = {
    "minimal": ("low",),
    "low": ("low",),
    "medium": ("medium",),
    "high": ("high",),
    # What is not there becomes the next lower one.
    "xhigh": ("xhigh", "high"),
    "max": ("max", "high"),
}


class Detail(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One entry of `reasoning_details`.

    `after_text` (characters) and `after_calls` say how much of the message stood before it: Anthropic wants
    its thinking back in its place, and from the `model` that it is asked of.
    """

    type: str
    text: str | None = None
    signature: str | None = None
    data: str | None = None
    format: str | None = None
    model: str | None = None
    index: int | None = None
    after_text: int = 0
    after_calls: int = 0


def detail_of(block: Block, model: str, *, index: int, after_text: int, after_calls: int) -> JsonObject:
    """Return the entry of `reasoning_details` for a block of thinking."""
    is_open = block.type == "thinking"
    detail = Detail(
        type="reasoning.text" if is_open else "reasoning.encrypted",
        text=(block.thinking or "") if is_open else None,
        signature=block.signature if is_open else None,
        data=None if is_open else block.data,
        format=_FORMAT,
        model=model,
        index=index,
        after_text=after_text,
        after_calls=after_calls,
    )
    return msgspec.json.decode(msgspec.json.encode(detail), type=JsonObject)


def own_details(details: Sequence[JsonObject], model: str) -> list[Detail]:
    """Return the details that came from this model, unharmed; those of others would be refused."""
    own = []
    for raw in details:
        try:
            detail = msgspec.json.decode(msgspec.json.encode(raw), type=Detail)
        except msgspec.ValidationError:
            continue
        kept = detail.signature if detail.type == "reasoning.text" else detail.data
        is_its_own = detail.model is None or is_same_model(detail.model, model)
        if detail.format == _FORMAT and kept is not None and is_its_own:
            own.append(detail)
    return own


def woven(
    details: Sequence[Detail], texts: Sequence[dict[str, Any]], calls: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return thinking, texts and calls as blocks in the order that they were said in."""
    blocks: list[dict[str, Any]] = []
    words = _Words(texts)
    told = 0
    for detail in details:
        blocks += words.until(detail.after_text)
        before, told = told, max(told, detail.after_calls)
        blocks += calls[before:told]
        blocks.append(_block_of(detail))
    return [*blocks, *words.rest(), *calls[told:]]


class _Words:
    """Text blocks that are taken off the front, piece by piece; however many pieces, each character once."""

    def __init__(self, texts: Sequence[dict[str, Any]]) -> None:
        self._texts = texts
        # The block that comes next, how much of it is taken already, and how many characters in all.
        self._at = 0
        self._cut = 0
        self._taken = 0

    def until(self, characters: int) -> Iterator[dict[str, Any]]:
        """Take blocks until this many characters are taken in all, the last one cut in two if need be."""
        while self._at < len(self._texts) and self._taken < characters:
            text = self._texts[self._at]["text"]
            end = self._cut + characters - self._taken
            if end < len(text):
                yield {"type": "text", "text": text[self._cut : end]}
                self._cut = end
                self._taken = characters
            else:
                self._taken += len(text) - self._cut
                yield self._next()

    def rest(self) -> Iterator[dict[str, Any]]:
        """Take what is left."""
        while self._at < len(self._texts):
            yield self._next()

    def _next(self) -> dict[str, Any]:
        block, cut = self._texts[self._at], self._cut
        self._at, self._cut = self._at + 1, 0
        return {**block, "text": block["text"][cut:]} if cut else block


def _block_of(detail: Detail) -> dict[str, Any]:
    if detail.type == "reasoning.text":
        return {"type": "thinking", "thinking": detail.text or "", "signature": detail.signature}
    return {"type": "redacted_thinking", "data": detail.data}


class Reasoning(msgspec.Struct, frozen=True):
    """What a request says about thinking; `is_whole` is False when that is not all the client asked for."""

    thinking: dict[str, Any] | None = None
    effort: Effort | None = None
    is_whole: bool = True


def reasoning_for(
    level: str | None, traits: ModelCapabilities, max_tokens: int, *, may_think: bool
) -> Reasoning:
    """Return how to ask a model for `level` (OpenAI's `reasoning_effort`).

    `may_think` is False where the API refuses thinking with a budget: a tool is forced, or the conversation
    stands among calls that were made without thinking.
    """
    if level is None:
        return Reasoning()
    if level == "none":
        return _unthinking(traits)
    if level not in _EFFORTS:
        known = ", ".join(("none", *_EFFORTS))
        message = f"The field 'reasoning_effort' must be one of: {known}."
        raise BadRequest(message, param="reasoning_effort")
    wanted = _EFFORTS[level]
    effort = next((one for one in wanted if one in traits.efforts), None)
    if traits.thinking in {"adaptive", "always"}:
        thinking = _adaptive(traits) if may_think else None
        return Reasoning(thinking, effort, is_whole=effort == wanted[0])
    # No limit beyond this changes the budget, and one of a thousand digits has no share.
    share = int(min(max_tokens, _MOST_BUDGET * 10) * _SHARES[level])
    budget = min(max(share, _LEAST_BUDGET), _MOST_BUDGET)
    if traits.thinking == "never" or not may_think or budget >= max_tokens:
        return Reasoning(None, effort, is_whole=False)
    is_whole = not traits.efforts or effort == wanted[0]
    return Reasoning({"type": "enabled", "budget_tokens": budget}, effort, is_whole=is_whole)


def _unthinking(traits: ModelCapabilities) -> Reasoning:
    if traits.thinking == "always":
        return Reasoning(None, "low" if traits.efforts else None, is_whole=False)
    return Reasoning({"type": "disabled"} if traits.thinks_unasked else None)


def _adaptive(traits: ModelCapabilities) -> dict[str, Any]:
    return {"type": "adaptive"} | ({"display": "summarized"} if traits.hides_thinking else {})
