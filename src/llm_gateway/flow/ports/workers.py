"""The workers on one machine: their registry, what they know of deployments, and the level of their logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from llm_gateway.core.log_levels import LogLevel


class LiveWorker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker of this machine that runs now."""

    pid: int
    # Unix microseconds; None = not known.
    started_at: int | None
    # The config version that it serves; None = it serves none yet.
    version: int | None
    # Requests in flight.
    active: int


class WorkerRegistry(Protocol):
    """State that the workers of one machine (one `DATA_DIR`) share in memory."""

    def publish_version(self, version: int) -> None:
        """Set the config version that this worker serves."""

    def announce_version(self, version: int) -> None:
        """Report that this version exists, so that the other workers load it."""

    def announced_version(self) -> int:
        """Return the highest version announced on this machine."""

    def stale_workers(self, version: int) -> tuple[int, ...]:
        """Return the process ids of the live workers that serve an older version."""

    def workers(self) -> tuple[LiveWorker, ...]:
        """Return the live workers, oldest first."""

    def try_enter(self, limit: int) -> bool:
        """Count a request in flight on this machine; return False, uncounted, if there are already `limit`."""

    def leave(self) -> None:
        """Undo one successful `try_enter`."""

    def active(self) -> int:
        """Return the number of requests in flight on this machine."""


class MachineState(Protocol):
    """What the workers of one machine know together. Times are Unix microseconds; None = not since they started."""

    def active(self) -> int:
        """Return the number of requests in flight on this machine."""

    def metrics_read_at(self) -> int | None:
        """Return when /metrics was last read in Prometheus' format."""

    def provider_tested_at(self) -> int | None:
        """Return when a test of a provider last succeeded."""


class SharedDeploymentState(msgspec.Struct, frozen=True, kw_only=True):
    """What the workers of this server know of a deployment: each has a circuit breaker of its own for it."""

    provider_key: str
    # None = the deployments of a provider that serves too many models to tell them apart: a worker counts once,
    # however many of their breakers are open there.
    upstream_model: str | None
    # Workers, by the state of their breaker.
    open: int
    half_open: int
    closed: int
    # Seconds until the first of the open breakers allows a trial; None = none is open.
    trial_in: float | None
    # Attempts in all workers.
    in_flight: int


class DeploymentStateReader(Protocol):
    """Reads the states of deployments in all workers of this server; those of the others are a second old."""

    def deployments(self) -> list[SharedDeploymentState]:
        """Return the deployments with a breaker that is not closed or with attempts in flight, by provider and model.

        Of every other deployment, the breakers are closed in all workers.
        """

    def workers(self) -> int:
        """Return the number of workers."""

    def health(self) -> Mapping[str, bool]:
        """Tell by provider_key whether the last answer or probe was a good one; without either it is missing."""


class LogLevelSwitch(Protocol):
    """The level of the logs of all workers on one machine, until they end."""

    # What the settings say.
    default: LogLevel

    def level(self) -> LogLevel:
        """Return the level in force."""

    def set(self, level: LogLevel | None) -> None:
        """Put `level` in force in every worker within a second; None = what the settings say."""
