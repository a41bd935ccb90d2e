"""Translates sampling, structured output and reasoning effort into Gemini's `generationConfig`."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.wire.openai_chat.conversation import Conversation

# Fields that `Conversation` leaves undecoded: Gemini's name and the type of each.
_NUMBERS: dict[str, tuple[str, Any]] = {
    "seed": ("seed", int),
    "top_k": ("topK", int),
    "frequency_penalty": ("frequencyPenalty", float),
    "presence_penalty": ("presencePenalty", float),
}
_OLDER = re.compile(r"gemini-[12]\b")
# The budgets of Google's own OpenAI endpoint, in tokens, for models that do not support levels.
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576}
_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH"}
# Gemini's highest level stands for OpenAI's highest.
_MOST, _HIGHEST = "max", "xhigh"
_PENALTIES = ("frequency_penalty", "presence_penalty")
# Gemini's seeds have 32 bits, OpenAI's 64.
_SEEDS = range(-(2**31), 2**31)

_T = TypeVar("_T")


def thinks_by_level(model: str) -> bool:
    """Tell by its name whether a model is Gemini 3 or later: it takes levels and needs thought signatures."""
    return "gemini-" in model and _OLDER.search(model) is None


def carried(*, is_chat: bool) -> tuple[str, ...]:
    """Return the names of the undecoded fields that `generation_config` translates.

    The legacy endpoint's `logprobs` are not among them: they need text offsets, which Gemini does not report.
    """
    return (*_NUMBERS, "logprobs", "top_logprobs") if is_chat else tuple(_NUMBERS)


def generation_config(
    conversation: Conversation, model: str, ignored_fields: list[str], *, is_chat: bool
) -> dict[str, Any]:
    """Return `generationConfig` with only the settings that the client gave.

    Add the names of fields that Gemini takes in part or not at all to `ignored_fields`. Raise BadRequest with the
    path of an invalid field.
    """
    effort = conversation.reasoning_effort
    if effort == _MOST:
        effort = _HIGHEST
        ignored_fields.append("reasoning_effort")
    config: dict[str, Any] = {
        "temperature": conversation.temperature,
        "topP": conversation.top_p,
        "maxOutputTokens": conversation.max_tokens,
        "stopSequences": conversation.stop or None,
        "candidateCount": conversation.n if conversation.n != 1 else None,
        "thinkingConfig": _thinking(effort, model),
        **_response_format(conversation),
        **(_logprobs(conversation) if is_chat else {}),
    }
    for name, (written, wanted) in _NUMBERS.items():
        config[written] = _value(conversation, name, wanted)
    for name in _PENALTIES:
        # 0 is no penalty, but models that support none reject it, too.
        config[_NUMBERS[name][0]] = config[_NUMBERS[name][0]] or None
    if config["seed"] is not None and config["seed"] not in _SEEDS:
        del config["seed"]
        ignored_fields.append("seed")
    return {name: value for name, value in config.items() if value is not None}


def _response_format(conversation: Conversation) -> dict[str, Any]:
    wanted = conversation.response_format
    if wanted is None or wanted.type == "text":
        return {}
    config: dict[str, Any] = {"responseMimeType": "application/json"}
    if wanted.type == "json_schema":
        if wanted.json_schema is None:
            path = "response_format.json_schema"
            raise BadRequest(f"The field '{path}' is missing.", param=path)
        config["responseJsonSchema"] = wanted.json_schema.schema
    return config


def _logprobs(conversation: Conversation) -> dict[str, Any]:
    top = _value(conversation, "top_logprobs", int) or None
    if _value(conversation, "logprobs", bool):
        return {"responseLogprobs": True, "logprobs": top}
    if top is not None:
        raise BadRequest("The field 'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
    return {}


def _thinking(effort: str | None, model: str) -> dict[str, Any] | None:
    if effort is None:
        return None
    if effort not in _BUDGETS:
        known = ", ".join((*_BUDGETS, _MOST))
        raise BadRequest(f"The field 'reasoning_effort' must be one of: {known}.", param="reasoning_effort")
    if effort == "none":
        # Models that cannot turn thinking off reject this themselves.
        return {"thinkingBudget": 0}
    if not thinks_by_level(model):
        return {"thinkingBudget": _BUDGETS[effort], "includeThoughts": True}
    # Pro models have no minimal level; Google's own OpenAI endpoint uses the next one for them.
    level = "LOW" if effort == "minimal" and "-pro" in model else _LEVELS[effort]
    return {"thinkingLevel": level, "includeThoughts": True}


def _value(conversation: Conversation, name: str, wanted: type[_T]) -> _T | None:
    raw = conversation.rest.get(name)
    if raw is None:
        return None
    try:
        value: _T = msgspec.json.decode(raw, type=wanted)
    except msgspec.DecodeError:
        message = f"The field '{name}' has the wrong type."
        raise BadRequest(message, param=name, code="invalid_type") from None
    return value
