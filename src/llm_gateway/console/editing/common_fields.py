"""Fields that several resources have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    return number_fields(name, group, _LIMITS, "unlimited")


def number_fields(
    name: str, group: str, fields: Iterable[tuple[str, str, str]], placeholder: str
) -> Sequence[Field]:
    """Return the fields of one part of a body; `fields` are their names, labels and hints."""
    return [
        Field(
            name=f"{name}.{last}", label=label, kind="number", hint=hint, placeholder=placeholder, group=group
        )
        for last, label, hint in fields
    ]


def cache_fields(otherwise: str) -> Sequence[Field]:
    """Return the fields of rules for the reply cache; `otherwise` says what holds without them."""
    group = "Reply cache"
    return [
        Field(
            name="cache.is_enabled",
            label="Cache replies",
            kind="optional_flag",
            placeholder=otherwise,
            group=group,
        ),
        Field(
            name="cache.ttl",
            label="Seconds that a reply stays",
            kind="number",
            placeholder="the gateway's setting",
            group=group,
        ),
        Field(name="cache.is_shared", label="Share replies between credentials", kind="flag", group=group),
    ]
