"""What each of Anthropic's models takes: how it thinks, how much it may say, whether it can be told to sample."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

import msgspec

# Sampling was taken out of the API with the newer version; the older one still has it.
NEWEST_VERSION = "2026-10-21"
SAMPLING_VERSION = "2023-06-01"

Effort = Literal["low", "medium", "high", "xhigh", "max"]

_NAME = re.compile(
    r"claude-(?:(?P<before>[a-z]+)-)?(?P<major>\d{1,2})(?:[-.](?P<minor>\d{1,2}))?(?!\d)(?:-(?P<after>[a-z]+))?"
)
_NEWEST = (99, 0)
_ALL_EFFORTS: tuple[Effort, ...] = ("low", "medium", "high", "xhigh", "max")


class ModelCapabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What one model takes.

    `max_tokens` is sent when a client gives none. `thinking`: with a budget, adaptive (it may be left out), or
    always adaptive. `efforts` are the levels it knows, () when it has no such field.
    """

    max_tokens: int
    thinking: Literal["never", "budget", "adaptive", "always"]
    efforts: tuple[Effort, ...] = ()
    # It thinks unless it is told not to.
    thinks_unasked: bool = False
    # It keeps the text of its thinking to itself unless it is asked to summarise it.
    hides_thinking: bool = False
    # It takes temperature, top_p and top_k at all, and whether it takes temperature and top_p together.
    samples: bool = True
    samples_both: bool = True
    version: str = NEWEST_VERSION


# Other servers speak this dialect too: what all of them take.
_OTHER = ModelCapabilities(max_tokens=8_192, thinking="budget", version=SAMPLING_VERSION)


@lru_cache(maxsize=1024)
def capabilities_of(model: str) -> ModelCapabilities:
    """Return what the model of this upstream name takes; a Claude that is not known is taken for a new one."""
    if "claude" not in model:
        return _OTHER
    family, version = _family_and_version(model)
    return ModelCapabilities(
        max_tokens=_max_tokens(version),
        thinking=_thinking(family, version),
        efforts=_efforts(family, version),
        thinks_unasked=version >= (5, 0),
        hides_thinking=version >= (4, 7),
        samples=version < (4, 7),
        samples_both=version < (4, 1),
    )


def is_same_model(name: str, other: str) -> bool:
    """Tell whether two names mean one model: an alias and its dated form do; other servers' names are not judged."""
    if "claude" in name and "claude" in other:
        return _family_and_version(name) == _family_and_version(other)
    return ("claude" in name) == ("claude" in other)


def _family_and_version(model: str) -> tuple[str, tuple[int, int]]:
    if "mythos-preview" in model:
        return "mythos", (4, 6)
    found = _NAME.search(model)
    if found is None:
        return "", _NEWEST
    family = found["before"] or found["after"] or ""
    return family, (int(found["major"]), int(found["minor"] or 0))


def _max_tokens(version: tuple[int, int]) -> int:
    """Return the most a model may say, or less where prompt and limit together must fit its context window."""
    for since, most in (((4, 6), 128_000), ((4, 5), 64_000), ((3, 7), 32_000), ((3, 5), 8_192)):
        if version >= since:
            return most
    return 4_096


def _thinking(family: str, version: tuple[int, int]) -> Literal["never", "budget", "adaptive", "always"]:
    if family in {"fable", "mythos"} or (family == "opus" and version >= (5, 5)):
        return "always"
    if version >= (4, 6):
        return "adaptive"
    return "budget" if version >= (3, 7) else "never"


def _efforts(family: str, version: tuple[int, int]) -> tuple[Effort, ...]:
    if version >= (4, 7):
        return _ALL_EFFORTS
    if version >= (4, 6):
        return ("low", "medium", "high", "max")
    return ("low", "medium", "high") if family == "opus" and version >= (4, 5) else ()
