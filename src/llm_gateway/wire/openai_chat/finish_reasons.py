"""Finish reasons of OpenAI and others: which of them end a choice, and which report a failure."""

from __future__ import annotations

import re
from typing import Literal

# OpenAI's own.
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]

# Some servers send one of these until a choice is finished.
_UNFINISHED = frozenset(
    {
        "",
        "null",
        "none",
        "nil",
        "undefined",
        "not_finished",
        "unfinished",
        "in_progress",
        "pending",
        "running",
    }
)
# Of enumerations, such as Google's FINISH_REASON_UNSPECIFIED.
_UNSPECIFIED = "unspecified"
_SEPARATORS = re.compile(r"[\s-]+")
# vLLM and SGLang abort; DeepSeek reports insufficient_system_resource; OpenRouter, Mistral and others report errors.
_FAILED = re.compile(
    r"error|fail|abort|cancel|exception|overload|interrupt|time[ds]?_?out|insufficient_system_resource|unclosed_stream"
)


def ending_reason(value: object) -> str | None:
    """Return the reason if `value` ends a choice, as only a string can; else None."""
    if not isinstance(value, str):
        return None
    name = _name(value)
    return None if name in _UNFINISHED or name.endswith(_UNSPECIFIED) else value


def is_failure(reason: str) -> bool:
    """Tell whether a reason says that the provider failed to finish: `error`, `network_error`, `abort`."""
    return _FAILED.search(_name(reason)) is not None


def _name(value: str) -> str:
    return _SEPARATORS.sub("_", value.strip().lower())
