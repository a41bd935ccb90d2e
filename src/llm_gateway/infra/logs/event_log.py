"""Log lines for administrators: failed attempts, open breakers, configuration reloads, provider tests."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from loguru import logger

from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.ledger.records import AttemptEnded
from llm_gateway.flow.ports.ledger import Observer
from llm_gateway.flow.ports.listeners import ConfigRejection, ProviderTest, ReloadListener, TrialListener

_UNAUTHORIZED = 401


class AttemptLog(Observer):
    """Logs failed attempts, at most one line per provider and reason in `interval` seconds."""

    def __init__(self, *, interval: float = 5.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._monotonic = monotonic
        # When a line was last written, and how many were suppressed since.
        self._logged: dict[tuple[str, str | None], tuple[float, int]] = {}

    def attempt_failed(self, failed: AttemptEnded) -> None:
        key = (failed.provider, failed.detail)
        now = self._monotonic()
        last, suppressed = self._logged.get(key, (-math.inf, 0))
        if now - last < self._interval:
            self._logged[key] = (last, suppressed + 1)
            return
        self._logged[key] = (now, 0)
        about_request = logger.bind(request_id=failed.request_id)
        more = f" ({suppressed} more like it)" if suppressed else ""
        if failed.status == _UNAUTHORIZED:
            about_request.error(
                "Provider {!r} rejected the gateway's API key (401): set a valid api_key. Request {}{}.",
                failed.provider, failed.request_id, more,
            )  # fmt: skip
            return
        if failed.reason == "account":
            about_request.error(
                "Provider {!r} refuses the gateway's account ({}): check its credit, quota and permissions there. "
                "Request {}{}.",
                failed.provider, failed.detail, failed.request_id, more,
            )  # fmt: skip
            return
        about_request.warning(
            "Provider {!r} failed for model {!r}: {}. Request {}{}.",
            failed.provider, failed.upstream_model, failed.detail, failed.request_id, more,
        )  # fmt: skip


def log_opened_breaker(provider: str, upstream_model: str, seconds: float) -> None:
    logger.warning(
        "Circuit breaker opened: provider {!r}, model {!r}, no requests for {:g} s.",
        provider, upstream_model, round(seconds, 1),
    )  # fmt: skip


class ReloadLog(ReloadListener):
    """Logs the result of each reload; a failure that repeats is logged once."""

    def __init__(self) -> None:
        # Why the last reload failed; None if it did not.
        self._failure: str | None = None

    def swapped(self, snapshot: Snapshot) -> None:
        self._failure = None
        logger.info("Configuration version {} is in force.", snapshot.version)

    def refused(self, refusal: ConfigRejection) -> None:
        """Log each reason; called once for each invalid version."""
        self._failure = None
        for fault in refusal.faults:
            logger.error(
                "Configuration version {} is in force except for a faulty row, which {}: {}.",
                *(refusal.version, _consequence(fault, refusal), fault),
            )

    def failed(self, reason: str) -> None:
        if reason == self._failure:
            return
        self._failure = reason
        logger.warning("Could not load the configuration; the current one stays in force: {}", reason)

    def went_back(self, version: int, before: int) -> None:
        logger.warning(
            "The database is at configuration version {}, and version {} was in force here before, as when a backup "
            "is restored. Changes since then are undone: check keys that were disabled, deleted or rotated.",
            *(version, before),
        )


def _consequence(fault: Fault, refusal: ConfigRejection) -> str:
    if fault.resource == "credential":
        return "is refused"
    if f"{fault.resource} {fault.row!r}" in refusal.kept:
        return "stays as it was"
    return "has the default there" if fault.resource == "model" else "is left out"


class TrialLog(TrialListener):
    """Logs each test of a provider."""

    def __init__(self, succeeded: Callable[[], None] = lambda: None) -> None:
        """`succeeded` is called after each test that was successful."""
        self._succeeded = succeeded

    def tested(self, result: ProviderTest) -> None:
        """Log the result and the tokens, which no usage record holds."""
        if not result.ok:
            logger.warning(
                "Test of provider {!r} with model {!r} failed: {}",
                result.provider,
                result.model,
                result.error,
            )
            return
        tokens = "unknown" if result.usage is None else result.usage.total_tokens
        logger.info(
            "Test of provider {!r} with model {!r}: ok in {:g} ms, tokens: {}.",
            result.provider, result.model, result.latency_ms, tokens,
        )  # fmt: skip
        self._succeeded()
