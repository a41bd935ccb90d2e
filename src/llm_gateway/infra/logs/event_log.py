"""Tells the log what an admin wants to know: attempts that failed, configurations refused, providers tried out."""

from __future__ import annotations

import time

from loguru import logger

from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.flow.ports.listeners import ConfigRejection, ProviderTest, ReloadListener, TrialListener

_UNAUTHORIZED = 401
# At most one line for each provider and reason in this many seconds: an outage must not flood the log.
_QUIET = 5.0


class AttemptLog:
    """The `Observer` that warns of failed attempts."""

    def __init__(self) -> None:
        """Start with nothing said."""
        self._said: dict[tuple[str, str | None], tuple[float, int]] = {}

    def finished(self, record: UsageRecord) -> None:
        """Leave finished requests to the access log."""

    def attempt_failed(self, failed: AttemptEnded) -> None:
        """Write a line, unless the same was said a moment ago."""
        key = (failed.provider, failed.detail)
        now = time.monotonic()
        last, unsaid = self._said.get(key, (-_QUIET, 0))
        if now - last < _QUIET:
            self._said[key] = (last, unsaid + 1)
            return
        self._said[key] = (now, 0)
        more = f" (and {unsaid} more like it)" if unsaid else ""
        if failed.status == _UNAUTHORIZED:
            logger.error(
                "Provider {!r} refuses the key the gateway has for it (401): set a valid api_key. Request {}{}.",
                failed.provider, failed.request_id, more,
            )  # fmt: skip
            return
        logger.warning(
            "Provider {!r} failed for model {!r}: {}. Request {}{}.",
            failed.provider, failed.upstream_model, failed.detail, failed.request_id, more,
        )  # fmt: skip


def log_opened_breaker(provider: str, upstream_model: str, seconds: float) -> None:
    """Warn that a deployment is left alone for a while."""
    logger.warning(
        "Provider {!r} is left alone for model {!r} for {:g} s: its breaker opened.",
        provider, upstream_model, round(seconds, 1),
    )  # fmt: skip


class ReloadLog(ReloadListener):
    """Tells the log what became of each change of the configuration."""

    def swapped(self, snapshot: Snapshot) -> None:
        """Say which version is in force."""
        logger.info("Configuration version {} is in force.", snapshot.version)

    def refused(self, refusal: ConfigRejection) -> None:
        """Say, once for each version, what is wrong with it."""
        for fault in refusal.faults:
            logger.error("Configuration version {} is refused: {}", refusal.version, fault)

    def failed(self, reason: str) -> None:
        """Say that the one in force stays."""
        logger.warning("The configuration could not be loaded, the one in force stays: {}", reason)


class TrialLog(TrialListener):
    """Tells the log of each provider that an admin tried out."""

    def tested(self, result: ProviderTest) -> None:
        """Say how it went, and what it cost: no usage row has it."""
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
