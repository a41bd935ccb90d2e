"""Fields that several resources have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from llm_gateway.console.forms.fields import Field

ENABLED: Final = Field(name="is_enabled", label="Enabled", kind="flag")

_LIMITS: Final = (
    ("requests_per_second", "Requests per second", "In any second."),
    ("requests_per_minute", "Requests per minute", "In any 60 seconds."),
    ("requests_per_day", "Requests per day", "In a calendar day."),
    ("tokens_per_minute", "Tokens per minute", "Of prompts and replies, in any 60 seconds."),
    ("tokens_per_day", "Tokens per day", "Of prompts and replies, in a calendar day."),
    ("concurrent_requests", "Requests at the same time", "In flight."),
)


def limit_fields(name: str, group: str) -> Sequence[Field]:
    """Return the fields of limits; empty ones are unlimited, 0 allows nothing."""
    return [
        Field(
            name=f"{name}.{limit}",
            label=label,
            kind="number",
            hint=hint,
            placeholder="unlimited",
            group=group,
        )
        for limit, label, hint in _LIMITS
    ]
