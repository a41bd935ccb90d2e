"""Load, build, swap: keeps every worker on the newest valid configuration, and on the last good one otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal

import msgspec

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.providers import Kind
from llm_gateway.core.config.snapshot import CatalogInvalid, Snapshot, build_snapshot
from llm_gateway.core.errors import GatewayError
from llm_gateway.flow.config.rows.store import LastGoodStore
from llm_gateway.flow.ports.catalog import CatalogSource
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.listeners import ConfigRejection, ReloadListener
from llm_gateway.flow.ports.workers import WorkerRegistry

# How long an admin's answer waits for the other workers of this machine, and how often it looks.
BARRIER_TIMEOUT = 2.0
_BARRIER_POLL = 0.005


ConfigOrigin = Literal["database", "last_good_file"]


class ConfigStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator wants to know of this worker's configuration. Times are Unix microseconds."""

    # In force here; None before the first load.
    version: int | None = None
    loaded_at: int | None = None
    # Where the configuration in force was read from; the file in DATA_DIR when the database could not be read, or
    # held nothing valid, at the start. None before the first load.
    source: ConfigOrigin | None = None
    # The newest stored catalog, when it is not valid: the one in force is older.
    refused: ConfigRejection | None = None
    # Why the last load failed, None when it did not.
    error: str | None = None


class SnapshotHolder:
    """Holds the configuration in force; `current` is read once a request and swapped by one assignment."""

    __slots__ = ("current", "status")

    def __init__(self) -> None:
        """Start with none: nothing was loaded yet."""
        self.current: Snapshot | None = None
        self.status = ConfigStatus()


class Reloader:
    """The only writer of the holder: one load at a time, shared by all who asked before it began."""

    def __init__(
        self,
        *,
        holder: SnapshotHolder,
        source: CatalogSource,
        kinds: Mapping[str, Kind],
        worker_registry: WorkerRegistry,
        last_good: LastGoodStore,
        clock: Clock,
        listener: ReloadListener | None = None,
    ) -> None:
        """Load from `source` into `holder`, tell `board`, and keep what is good with `keeper`."""
        self._holder = holder
        self._source = source
        self._kinds = kinds
        self._worker_registry = worker_registry
        self._last_good = last_good
        self._clock = clock
        self._listener = listener or ReloadListener()
        self._one_at_a_time = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        # The load that runs and the one behind it: they may outlive whoever asked.
        self._loads: set[asyncio.Task[None]] = set()
        # The version of the catalog that was judged last, served or refused.
        self._judged: int | None = None

    @property
    def status(self) -> ConfigStatus:
        """Return what is in force and what is wrong."""
        return self._holder.status

    @property
    def snapshot(self) -> Snapshot | None:
        """Return the configuration in force here, None while there is none."""
        return self._holder.current

    async def start(self) -> None:
        """Load for the first time; fall back to the last good catalog when the database gives nothing valid.

        Raises what the source raised (StoreUnavailable, say) when there is no last good catalog either. A rejected
        catalog without one leaves no configuration in force, and says why in `status`.
        """
        failure: Exception | None = None
        try:
            await self.reload()
        except Exception as error:  # noqa: BLE001 - raised again below, unless the last good catalog can be served
            failure = error
        if self._holder.status.version is not None:
            return
        if not await self._serve_last_good() and failure is not None:
            raise failure

    async def _serve_last_good(self) -> bool:
        before, judged = self._holder.status, self._judged
        last_good = await self._last_good.load()
        if last_good is None or not await self._serve_if_valid(last_good):
            self._holder.status = before
            return False
        # What is wrong with the database still shows, and its catalog is judged again only when it changes.
        self._judged = judged
        self._holder.status = msgspec.structs.replace(
            self._holder.status, source="last_good_file", refused=before.refused, error=before.error
        )
        return True

    async def reload(self) -> ConfigStatus:
        """Read the catalog, which is at least as new as this call, and serve it if it is valid.

        Returns the status, in which a refused catalog shows. Raises what the source raises; the configuration
        in force stays then.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._load_next())
            self._loads.add(self._next)
            self._next.add_done_callback(self._forget)
        # A caller that goes away must not take the load from the others.
        await asyncio.shield(self._next)
        return self._holder.status

    async def reload_if_newer(self, version: int | None = None) -> None:
        """Reload if `version` (the stored one when None) is not the one that was judged last."""
        if version is None:
            version = await self._source.version()
        if version != self._judged:
            await self.reload()

    async def close(self) -> None:
        """End the loads whose callers have gone, so that the source can be closed behind them."""
        while self._loads:
            for load in self._loads:
                load.cancel()
            await asyncio.wait(self._loads)

    async def adopt(self, catalog: Catalog, snapshot: Snapshot) -> None:
        """Serve what an edit has just stored, without loading it again; nothing if a newer one is served."""
        async with self._one_at_a_time:
            current = self._holder.current
            if current is None or snapshot.version > current.version:
                self._swap(catalog, snapshot)

    async def await_everyone(self, version: int, timeout: float = BARRIER_TIMEOUT) -> tuple[int, ...]:
        """Have all workers of this machine fetch `version`; return the ids of those that have not in time."""
        self._worker_registry.announce_version(version)
        give_up = self._clock.monotonic() + timeout
        # The board is shared memory: nothing wakes us when another process writes there.
        while (late := self._worker_registry.stale_workers(version)) and self._clock.monotonic() < give_up:  # noqa: ASYNC110
            await asyncio.sleep(_BARRIER_POLL)
        return late

    async def _load_next(self) -> None:
        async with self._one_at_a_time:
            # Whoever asks from here on may know of changes that this load does not see.
            self._next = None
            try:
                catalog = await self._source.load()
            except Exception as error:
                self._note_failure(error)
                raise
            await self._serve_if_valid(catalog)

    async def _serve_if_valid(self, catalog: Catalog) -> bool:
        self._judged = catalog.version
        try:
            # Pure computation, but a tenth of a second of it for ten thousand rows.
            snapshot = await asyncio.to_thread(build_snapshot, catalog, self._kinds)
        except CatalogInvalid as invalid:
            refusal = ConfigRejection(
                version=catalog.version, faults=invalid.faults, at=self._clock.unix_us()
            )
            self._holder.status = msgspec.structs.replace(self._holder.status, refused=refusal, error=None)
            self._listener.refused(refusal)
            return False
        self._swap(catalog, snapshot)
        return True

    def _swap(self, catalog: Catalog, snapshot: Snapshot) -> None:
        self._judged = snapshot.version
        self._holder.current = snapshot
        self._holder.status = ConfigStatus(
            version=snapshot.version, loaded_at=self._clock.unix_us(), source="database"
        )
        self._worker_registry.publish_version(snapshot.version)
        self._last_good.save(catalog)
        self._listener.swapped(snapshot)

    def _forget(self, load: asyncio.Task[None]) -> None:
        self._loads.discard(load)
        if self._next is load:
            # Cancelled before it began.
            self._next = None
        # Looked at, so that asyncio does not complain of a load whose callers have all gone.
        if not load.cancelled():
            load.exception()

    def _note_failure(self, error: Exception) -> None:
        # Only our own errors have texts that are known to hold no secret.
        reason = error.message if isinstance(error, GatewayError) else f"unexpected {type(error).__name__}"
        self._holder.status = msgspec.structs.replace(self._holder.status, error=reason)
        self._listener.failed(reason)
