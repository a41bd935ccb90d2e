"""What to do after an attempt failed: one rule, as a value, so that policies can replace it."""

from __future__ import annotations

from enum import Enum
from typing import Literal

import msgspec


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an attempt did not lead to a reply."""

    reason: Literal["connect", "cut", "timeout", "protocol", "status"]
    # The provider's status, when there was one.
    status: int | None = None


class Step(Enum):
    """What comes next."""

    FAIL_OVER = "fail over to the next deployment of the plan"
    GIVE_UP = "tell the client"


# 401 is the operator's key, not the client's; 408 and 429 say that this provider cannot, now.
_NOT_THE_CLIENTS_FAULT = frozenset({401, 408, 429})


def next_step(failure: Failure) -> Step:
    """Decide after one failed attempt, before the commit: a 4xx is the client's own, the rest fails over."""
    status = failure.status
    if failure.reason != "status" or status is None:
        return Step.FAIL_OVER
    if 400 <= status < 500 and status not in _NOT_THE_CLIENTS_FAULT:
        return Step.GIVE_UP
    return Step.FAIL_OVER
