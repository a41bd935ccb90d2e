"""How many tokens a request used, and where the counts come from."""

from __future__ import annotations

from typing import Literal

import msgspec

UsageSource = Literal["provider", "counted", "estimated"]


# It cannot be part of a reference cycle, so the garbage collector skips it (gc=False).
class Usage(msgspec.Struct, frozen=True, gc=False):
    """Token counts of one request.

    `source` is `provider` when the provider reported them, `counted` when the gateway counted them with a
    tokenizer, and `estimated` when it derived them from lengths. `cached_tokens` are part of `prompt_tokens`,
    `reasoning_tokens` part of `completion_tokens`.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    source: UsageSource = "provider"
