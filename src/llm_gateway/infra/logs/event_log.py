"""Log lines for administrators: failed attempts, open breakers, configuration reloads, provider tests."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from loguru import logger

from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
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

    def finished(self, record: UsageRecord) -> None:
        """Do nothing: the access log has a line for each finished request."""

    def attempt_failed(self, failed: AttemptEnded) -> None:
        key = (failed.provider, failed.detail)
        now = self._monotonic()
        last, suppressed = self._logged.get(key, (-math.inf, 0))
        if now - last < self._interval:
            self._logged[key] = (last, suppressed + 1)
            return
        self._logged[key] = (now, 0)
        more = f" ({suppressed} more like it)" if suppressed else ""
        if failed.status == _UNAUTHORIZED:
            logger.error(
                "Provider {!r} rejected the gateway's API key (401): set a valid api_key. Request {}{}.",
                failed.provider, failed.request_id, more,
            )  # fmt: skip
            return
        logger.warning(
            "Provider {!r} failed for model {!r}: {}. Request {}{}.",
            failed.provider, failed.upstream_model, failed.detail, failed.request_id, more,
        )  # fmt: skip


def log_opened_breaker(provider: str, upstream_model: str, seconds: float) -> None:
    logger.warning(
        "Circuit breaker opened: provider {!r}, model {!r}, no requests for {:g} s.",
        provider, upstream_model, round(seconds, 1),
    )  # fmt: skip


class ReloadLog(ReloadListener):
    """Logs the result of each reload."""

    def swapped(self, snapshot: Snapshot) -> None:
        logger.info("Configuration version {} is in force.", snapshot.version)

    def refused(self, refusal: ConfigRejection) -> None:
        """Log each reason; called once for each invalid version."""
        for fault in refusal.faults:
            logger.error("Configuration version {} is invalid and not in force: {}", refusal.version, fault)

    def failed(self, reason: str) -> None:
        logger.warning("Could not load the configuration; the current one stays in force: {}", reason)


class TrialLog(TrialListener):
    """Logs each test of a provider."""

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
