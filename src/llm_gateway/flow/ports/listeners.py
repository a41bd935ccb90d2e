"""Listeners to configuration reloads and provider tests, such as the log."""

from __future__ import annotations

from typing import Protocol

import msgspec

from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.ledger.usage import Usage


class ConfigRejection(msgspec.Struct, frozen=True, kw_only=True):
    """A stored catalog that is invalid, with every reason; `at` is in Unix microseconds."""

    version: int
    faults: tuple[Fault, ...]
    at: int


class ReloadListener:
    """Notified of the result of each reload. The methods of this base class do nothing."""

    def swapped(self, snapshot: Snapshot) -> None:
        """`snapshot` is in force now."""

    def refused(self, refusal: ConfigRejection) -> None:
        """The stored catalog is invalid; called once for each version."""

    def failed(self, reason: str) -> None:
        """The catalog could not be loaded."""


class ProviderTest(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one small test request, without secrets or addresses. `latency_ms` includes OAuth2."""

    provider: str
    ok: bool
    latency_ms: float
    # The upstream model; None if none could be chosen.
    model: str | None = None
    # The provider's HTTP status; None if there was no response.
    status: int | None = None
    # The start of the reply text.
    text: str | None = None
    usage: Usage | None = None
    # What went wrong, in the provider's words if it sent any, and how to fix it.
    error: str | None = None
    advice: str | None = None


class TrialListener(Protocol):
    """Notified of each provider test."""

    def tested(self, result: ProviderTest) -> None: ...
