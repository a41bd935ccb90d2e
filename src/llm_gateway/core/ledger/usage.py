"""How many tokens a request used, and where the counts come from."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

# One word if prompt and completion have the same source; else that of the prompt, a slash, that of the completion.
UsageSource = Literal[
    "provider",
    "counted",
    "estimated",
    "provider/counted",
    "provider/estimated",
    "counted/provider",
    "estimated/provider",
]
# The source of one number.
CountSource = Literal["provider", "counted", "estimated"]


# None of these structs can be part of a reference cycle, so the garbage collector skips them (gc=False).
class UsageDetails(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a provider states beyond the plain token counts, and what its prices may depend on.

    `quantities` has further amounts by the names of units (`core.pricing.units`), each including its parts:
    `input_audio_tokens`, `cache_write_1h_tokens`, `web_searches`. None is 0, and parts are no more than the whole
    once that is known (`usage_parts.whole_usage`). `cost_nano_usd` is what the provider itself says that the request
    cost.
    """

    quantities: dict[str, int | float] = {}
    # The service tier that served the request, unless it is the ordinary one: `flex`, `priority`, `fast`, `batch`.
    served_tier: str | None = None
    cost_nano_usd: int | None = None


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Token counts of one request.

    `source` is `provider` when the provider reported them, `counted` when the gateway counted them with a
    tokenizer, and `estimated` when it derived them from lengths; `provider/counted` means that the provider reported
    the prompt and the gateway counted the completion. `cached_tokens` are part of `prompt_tokens`,
    `reasoning_tokens` part of `completion_tokens`, `cache_write_tokens` (written to the provider's cache) part of
    `prompt_tokens`; only providers report these three, and 0 means that none did. `details` is None if the provider
    stated nothing more.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    source: UsageSource = "provider"
    cache_write_tokens: int = 0
    details: UsageDetails | None = None


class StatedUsage(msgspec.Struct, frozen=True, gc=False):
    """Token counts as a provider stated them, where that is less than a `Usage`: the gateway counts what is missing.

    None: not stated, impossible, or out of date because content followed. 0: stated, but to be counted, because no
    prompt and hardly any completion is empty. `total_tokens` is kept if it is more than prompt and completion.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    details: UsageDetails | None = None


NOTHING_STATED: Final = StatedUsage()


def combined(prompt: CountSource, completion: CountSource) -> UsageSource:
    """Return the source of a whole usage; what is counted in one half and estimated in the other is estimated."""
    if prompt == completion:
        return prompt
    if prompt == "provider":
        return "provider/counted" if completion == "counted" else "provider/estimated"
    if completion == "provider":
        return "counted/provider" if prompt == "counted" else "estimated/provider"
    return "estimated"


class NothingUsed(msgspec.Struct, frozen=True, gc=False):
    """The usage of a request that no provider is known to have answered."""

    prompt_tokens: None = None
    completion_tokens: None = None
    total_tokens: None = None
    cached_tokens: None = None
    reasoning_tokens: None = None
    source: None = None
    cache_write_tokens: None = None
    details: None = None


NOTHING_USED = NothingUsed()
