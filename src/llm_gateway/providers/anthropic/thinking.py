"""Thinking in OpenAI's fields: blocks to `reasoning_details` and back, and `reasoning_effort` to settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.providers.anthropic.models import Effort, ModelCapabilities, is_same_model
from llm_gateway.wire.anthropic_messages.messages import Block
from llm_gateway.wire.raw_json import JsonObject

# Types of blocks that later requests must return to the API.
THINKING = frozenset({"thinking", "redacted_thinking"})
# The established name of this form of details; other gateways use it, too.
_FORMAT = "anthropic-claude-v1"
_LEAST_BUDGET, _MOST_BUDGET = 1_024, 32_000
_SHARES = {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8, "xhigh": 0.95, "max": 0.95}
_EFFORTS: dict[str, tuple[Effort, ...]] = {
    "minimal": ("low",),
    "low": ("low",),
    "medium": ("medium",),
    "high": ("high",),
    # A level that the model does not have becomes the next lower one.
    "xhigh": ("xhigh", "high"),
    "max": ("max", "high"),
}


class Detail(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One entry of `reasoning_details`.

    `after_text` (characters) and `after_calls` count what precedes it in the message: Anthropic requires
    thinking at its original position. `model` made it; no other model accepts it.
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
    """Return the `reasoning_details` entry of a thinking block."""
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
    """Return the valid details that this model made; the API rejects those of others."""
    own = []
    for raw in details:
        try:
            detail = msgspec.json.decode(msgspec.json.encode(raw), type=Detail)
        except msgspec.ValidationError:
            continue
        payload = detail.signature if detail.type == "reasoning.text" else detail.data
        is_its_own = detail.model is None or is_same_model(detail.model, model)
        if detail.format == _FORMAT and payload is not None and is_its_own:
            own.append(detail)
    return own


def interleave(
    details: Sequence[Detail], texts: Sequence[dict[str, Any]], calls: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return thinking, texts and calls as blocks in their original order."""
    blocks: list[dict[str, Any]] = []
    cursor = _TextCursor(texts)
    sent = 0
    for detail in details:
        blocks += cursor.take_until(detail.after_text)
        before, sent = sent, max(sent, detail.after_calls)
        blocks += calls[before:sent]
        blocks.append(_block_of(detail))
    return [*blocks, *cursor.take_rest(), *calls[sent:]]


class _TextCursor:
    """Takes text from the front of a list of blocks, in linear time however many pieces are taken."""

    def __init__(self, texts: Sequence[dict[str, Any]]) -> None:
        self._texts = texts
        # Index of the next block, characters taken from it, and characters taken in total.
        self._at = 0
        self._cut = 0
        self._taken = 0

    def take_until(self, characters: int) -> Iterator[dict[str, Any]]:
        """Yield text up to the total position `characters`; split the last block if necessary."""
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

    def take_rest(self) -> Iterator[dict[str, Any]]:
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
    """The thinking settings of a request; `is_exact` is False if they are less than the client asked for."""

    thinking: dict[str, Any] | None = None
    effort: Effort | None = None
    is_exact: bool = True


def reasoning_for(
    level: str | None, capabilities: ModelCapabilities, max_tokens: int, *, may_think: bool
) -> Reasoning:
    """Return the settings for `level` (OpenAI's `reasoning_effort`).

    `may_think` is False where the API rejects thinking: the request forces a tool, or the model uses a budget
    and the current tool loop began without thinking. Raise BadRequest for an unknown level.
    """
    if level is None:
        return Reasoning()
    if level == "none":
        return _disabled(capabilities)
    if level not in _EFFORTS:
        known = ", ".join(("none", *_EFFORTS))
        message = f"The field 'reasoning_effort' must be one of: {known}."
        raise BadRequest(message, param="reasoning_effort")
    wanted = _EFFORTS[level]
    effort = next((one for one in wanted if one in capabilities.efforts), None)
    if capabilities.thinking in {"adaptive", "always"}:
        thinking = _adaptive(capabilities) if may_think else None
        return Reasoning(thinking, effort, is_exact=effort == wanted[0])
    # A larger limit does not change the budget, and an integer of 400 digits does not fit in a float.
    share = int(min(max_tokens, _MOST_BUDGET * 10) * _SHARES[level])
    budget = min(max(share, _LEAST_BUDGET), _MOST_BUDGET)
    if capabilities.thinking == "never" or not may_think or budget >= max_tokens:
        return Reasoning(None, effort, is_exact=False)
    is_exact = not capabilities.efforts or effort == wanted[0]
    return Reasoning({"type": "enabled", "budget_tokens": budget}, effort, is_exact=is_exact)


def _disabled(capabilities: ModelCapabilities) -> Reasoning:
    if capabilities.thinking == "always":
        return Reasoning(None, "low" if capabilities.efforts else None, is_exact=False)
    return Reasoning({"type": "disabled"} if capabilities.thinks_unasked else None)


def _adaptive(capabilities: ModelCapabilities) -> dict[str, Any]:
    return {"type": "adaptive"} | ({"display": "summarized"} if capabilities.hides_thinking else {})
