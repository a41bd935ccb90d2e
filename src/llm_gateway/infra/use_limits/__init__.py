"""Stores of use: what accounts have used of their limits, counted on one machine, or across machines."""

from __future__ import annotations

from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llm_gateway.infra.startup_error import StartupError
from llm_gateway.infra.use_limits.shared import SharedUseStore

if TYPE_CHECKING:
    from llm_gateway.infra.use_limits.redis_store import RedisUseStore


def make_use_store(
    *,
    directory: Path,
    namespace: str,
    zone: tzinfo,
    redis_url: str | None = None,
    fail: Literal["open", "closed"] = "open",
) -> SharedUseStore | RedisUseStore:
    """Return the store of one worker; call it in the worker's own process.

    The workers of a machine share a file in `directory`. `namespace` names the database that the ids of accounts
    belong to, and must be the same on all machines that share a Redis. `zone` is that of calendar days. `fail` says
    what applies while Redis does not answer. Raises StartupError when the directory or the URL cannot be used.
    """
    try:
        machine = SharedUseStore(directory, namespace, zone)
    except OSError as error:
        raise StartupError(
            f"Cannot count what is used of limits in {directory} ({error.strerror or type(error).__name__}): "
            "make DATA_DIR a writable folder on a local disk."
        ) from error
    if redis_url is None:
        return machine
    # Imported late: a client library that only Redis needs.
    from llm_gateway.infra.use_limits.redis_store import RedisUseStore  # noqa: PLC0415

    return RedisUseStore(redis_url, machine, zone=zone, namespace=namespace, fail=fail)
