"""Capabilities of Anthropic's models, derived from their names: thinking, output limit, sampling."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

import msgspec

# The newest API version has no sampling parameters; the older one does.
NEWEST_VERSION = "2026-10-21"
SAMPLING_VERSION = "2023-06-01"

Effort = Literal["low", "medium", "high", "xhigh", "max"]

_NAME = re.compile(
    r"claude-(?:(?P<before>[a-z]+)-)?(?P<major>\d{1,2})(?:[-.](?P<minor>\d{1,2}))?(?!\d)(?:-(?P<after>[a-z]+))?"
)
_NEWEST = (99, 0)
_ALL_EFFORTS: tuple[Effort, ...] = ("low", "medium", "high", "xhigh", "max")


class ModelCapabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What one model supports.

    `max_tokens` is the default if a client sets no limit. `thinking` is "budget" for a fixed number of tokens,
    "adaptive" if the model decides and thinking can be disabled, "always" if it cannot. `efforts` are the
    supported effort levels, () if the model has no effort setting.
    """

    max_tokens: int
    thinking: Literal["never", "budget", "adaptive", "always"]
    efforts: tuple[Effort, ...] = ()
    # Thinks by default; must be disabled explicitly.
    thinks_unasked: bool = False
    # Returns no text of its thinking unless the request asks for a summary.
    hides_thinking: bool = False
    # Supports temperature, top_p and top_k; supports temperature and top_p in one request.
    samples: bool = True
    samples_both: bool = True
    version: str = NEWEST_VERSION


# For the models of other servers with this API: what all of them support.
_OTHER = ModelCapabilities(max_tokens=8_192, thinking="budget", version=SAMPLING_VERSION)


@lru_cache(maxsize=1024)
def capabilities_of(model: str) -> ModelCapabilities:
    """Return the capabilities of an upstream model name; an unknown Claude counts as the newest."""
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
    """Tell whether two names mean one model, such as an alias and its dated form.

    Names without "claude" belong to other servers and all count as one model.
    """
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
    """Return the model's output limit; less where prompt and limit together must fit the context window."""
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
