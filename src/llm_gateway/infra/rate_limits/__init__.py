"""Chooses how requests per second are counted: in one process, on one machine, or across machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llm_gateway.infra.rate_limits.in_process import InProcessRateLimiter
from llm_gateway.infra.rate_limits.shared import SharedRateLimiter
from llm_gateway.infra.startup_error import StartupError

if TYPE_CHECKING:
    from llm_gateway.infra.rate_limits.redis_window import RedisRateLimiter


def make_rate_limiter(
    *,
    workers: int,
    directory: Path,
    namespace: str = "",
    redis_url: str | None = None,
    fail: Literal["open", "closed"] = "open",
) -> InProcessRateLimiter | SharedRateLimiter | RedisRateLimiter:
    """Return the limiter for one of `workers`; call it in the worker's own process.

    `directory` is where several workers share a file. `namespace` names the database whose credential ids
    are counted: it must be the same on every machine that shares a Redis. `fail` says what holds while
    Redis does not answer. StartupError when the directory or the URL cannot be used.
    """
    machine: InProcessRateLimiter | SharedRateLimiter
    if workers == 1:
        machine = InProcessRateLimiter()
    else:
        try:
            machine = SharedRateLimiter(directory, namespace)
        except OSError as fault:
            raise StartupError(
                f"Rate limits cannot be shared through {directory} ({fault.strerror or type(fault).__name__}); "
                "make DATA_DIR a writable folder on a local disk, or set WORKERS=1"
            ) from fault
    if redis_url is None:
        return machine
    # Two client libraries that only this choice needs, and a good part of the time to start.
    from llm_gateway.infra.rate_limits.redis_window import RedisRateLimiter  # noqa: PLC0415

    return RedisRateLimiter(redis_url, machine, fail=fail, namespace=namespace)
