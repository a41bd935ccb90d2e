"""What reports events to the log and to gauges: reloads, tests of providers."""

from __future__ import annotations

from typing import Protocol

import msgspec

from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.records import Usage


class ConfigRejection(msgspec.Struct, frozen=True, kw_only=True):
    """A stored catalog that is not served, and every reason; `at` is Unix microseconds."""

    version: int
    faults: tuple[Fault, ...]
    at: int


class ReloadListener:
    """Is told what reloading did, to log it and to set gauges; this one does nothing."""

    def swapped(self, snapshot: Snapshot) -> None:
        """Take note that `snapshot` is in force now."""

    def refused(self, refusal: ConfigRejection) -> None:
        """Take note that the stored catalog is not valid."""

    def failed(self, reason: str) -> None:
        """Take note that the catalog could not be loaded."""


class ProviderTest(msgspec.Struct, frozen=True, kw_only=True):
    """What one tiny request led to. No secret and no address; `latency_ms` includes getting an access token."""

    provider: str
    ok: bool
    latency_ms: float
    # As the provider knows it; None when none could be chosen.
    model: str | None = None
    # The provider's; None when there was no reply.
    status: int | None = None
    # The beginning of what the model said.
    text: str | None = None
    usage: Usage | None = None
    # What went wrong, in the provider's own words where it had some, and what to do about it.
    error: str | None = None
    advice: str | None = None


class TrialListener(Protocol):
    """Hears of tests, for the log."""

    def tested(self, result: ProviderTest) -> None:
        """Take note."""
