"""Rate limits: requests per second, counted in one process, on one machine, or across machines."""

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
    """Return the limiter of one of `workers`; call it in the worker's own process.

    Several workers share a file in `directory`. `namespace` names the database that the credential ids belong
    to, and must be the same on all machines that share a Redis. `fail` says what applies while Redis does not
    answer. Raises StartupError when the directory or the URL cannot be used.
    """
    machine: InProcessRateLimiter | SharedRateLimiter
    if workers == 1:
        machine = InProcessRateLimiter()
    else:
        try:
            machine = SharedRateLimiter(directory, namespace)
        except OSError as error:
            raise StartupError(
                f"Cannot share rate limits through {directory} ({error.strerror or type(error).__name__}): "
                "make DATA_DIR a writable folder on a local disk, or set WORKERS=1."
            ) from error
    if redis_url is None:
        return machine
    # Imported late: two client libraries that only Redis needs, and a good part of the start time.
    from llm_gateway.infra.rate_limits.redis_window import RedisRateLimiter  # noqa: PLC0415

    return RedisRateLimiter(redis_url, machine, fail=fail, namespace=namespace)
