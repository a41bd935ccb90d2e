"""Loads, builds and swaps configurations: of the newest one, every row that is valid is in force."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal

import msgspec

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.providers import Kind
from llm_gateway.core.config.snapshot import Snapshot, build_usable_snapshot
from llm_gateway.core.errors import GatewayError
from llm_gateway.core.pricing.price_book import PriceBook
from llm_gateway.flow.config.rows.store import LastGoodStore
from llm_gateway.flow.ports.catalog import CatalogSource, StoreUnavailable
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.listeners import ConfigRejection, ReloadListener, notify
from llm_gateway.flow.ports.workers import WorkerRegistry

# How long an admin's answer waits for the other workers of this machine, and how often it checks; seconds.
BARRIER_TIMEOUT = 2.0
_BARRIER_POLL = 0.005


ConfigOrigin = Literal["database", "last_good_file"]


class ConfigStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of this worker's configuration, for operators. Times are Unix microseconds."""

    # In force here; None before the first load.
    version: int | None = None
    loaded_at: int | None = None
    # Where the configuration in force was read from; the file in DATA_DIR when the database could not be read at the
    # start. None before the first load.
    source: ConfigOrigin | None = None
    # The faulty rows of the catalog in force: they are not served as they are stored.
    refused: ConfigRejection | None = None
    # Why the last load failed, None when it did not.
    error: str | None = None


class SnapshotHolder:
    """Holds the configuration in force; a request reads `current` once, a swap is one assignment."""

    __slots__ = ("current", "status")

    def __init__(self) -> None:
        self.current: Snapshot | None = None
        self.status = ConfigStatus()


class Reloader:
    """The only writer of the holder: one load at a time, shared by all callers that asked before it began."""

    def __init__(
        self,
        *,
        holder: SnapshotHolder,
        source: CatalogSource,
        kinds: Mapping[str, Kind],
        worker_registry: WorkerRegistry,
        last_good: LastGoodStore,
        clock: Clock,
        prices: PriceBook | None = None,
        listener: ReloadListener | None = None,
        barrier_timeout: float = BARRIER_TIMEOUT,
    ) -> None:
        """Load from `source`, announce versions in `worker_registry`, save good catalogs in `last_good`.

        Deployments get their prices from `prices`; without it they have none. `barrier_timeout` is in seconds.
        """
        self._barrier_timeout = barrier_timeout
        self._holder = holder
        self._source = source
        self._kinds = kinds
        self.prices = prices
        self._worker_registry = worker_registry
        self._last_good = last_good
        self._clock = clock
        self._listener = listener or ReloadListener()
        self._one_at_a_time = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        # The running load and the one queued behind it: they may outlive their callers.
        self._loads: set[asyncio.Task[None]] = set()
        # The version of the catalog that was loaded last.
        self._loaded: int | None = None
        # Whether it has neither a provider nor a credential.
        self._is_empty = False
        # Why a catalog older than the one in force was refused, and its version.
        self._went_back: StoreUnavailable | None = None
        self._went_back_to: int | None = None

    @property
    def status(self) -> ConfigStatus:
        """Return what is in force and what is wrong."""
        return self._holder.status

    @property
    def snapshot(self) -> Snapshot | None:
        """Return the configuration in force here, None while there is none."""
        return self._holder.current

    @property
    def is_empty(self) -> bool:
        """Return whether the database can be read, and has neither a provider nor a credential."""
        status = self._holder.status
        return self._is_empty and status.source == "database" and status.error is None

    @property
    def went_back(self) -> str | None:
        """Return why the catalog that is stored is refused: it is older than the one in force; None if it is not."""
        return None if self._went_back is None else self._went_back.message

    async def start(self) -> None:
        """Load for the first time; fall back to the last good catalog when the database cannot be read.

        Raises what the source raised (StoreUnavailable, say) when there is no last good catalog either.
        """
        last_good = await self._last_good.load()
        try:
            await self.reload()
        except Exception:
            if last_good is None:
                raise
            await self._serve_last_good(last_good)
            return
        version = self._holder.status.version or 0
        if last_good is not None and version < last_good.version:
            notify(self._listener.went_back, version, last_good.version)

    async def _serve_last_good(self, last_good: Catalog) -> None:
        error, loaded = self._holder.status.error, self._loaded
        await self._serve(last_good)
        # What is wrong with the database still shows, and its catalog is loaded once it can be.
        self._loaded = loaded
        self._holder.status = msgspec.structs.replace(
            self._holder.status, source="last_good_file", error=error
        )

    async def reload(self) -> ConfigStatus:
        """Read the catalog, which is at least as new as this call, and serve what is valid of it.

        Returns the status, in which faulty rows show. Raises what the source raises; the configuration in force
        stays then.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._load_next())
            self._loads.add(self._next)
            self._next.add_done_callback(self._forget)
        # A cancelled caller must not cancel the load of the others.
        await asyncio.shield(self._next)
        return self._holder.status

    async def reload_if_newer(self, version: int | None = None) -> None:
        """Reload if `version` (the stored one when None) is not the one that was loaded last."""
        if version is None:
            version = await self._source.version()
        if version == self._went_back_to and self._went_back is not None:
            # Known, without reading all of it again.
            raise self._went_back
        if version != self._loaded or self._went_back is not None:
            await self.reload()

    def check_version(self, version: int) -> None:
        """Raise StoreUnavailable when the stored `version` is older than the one in force: a backup was restored.

        What a restored backup brings back, such as a key that was disabled since, is served after a restart only.
        """
        current = self._holder.current
        if current is not None and version < current.version:
            raise StoreUnavailable(
                f"The database went back from configuration version {current.version} to {version}, as when a "
                "backup is restored: later changes, such as disabled keys, are not in it. The configuration in "
                "force stays, and nothing is changed in the database. Restart the gateway to serve what the "
                "database holds now (docs/how-to/back-up-and-restore.md)"
            )

    async def close(self) -> None:
        """Cancel the loads whose callers are gone, so that the source can be closed."""
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

    async def await_everyone(self, version: int) -> tuple[int, ...]:
        """Have all workers of this machine load `version`; return the ids of those that have not in time."""
        self._worker_registry.announce_version(version)
        give_up = self._clock.monotonic() + self._barrier_timeout
        # The registry is shared memory: nothing wakes this process when another one writes there.
        while (late := self._worker_registry.stale_workers(version)) and self._clock.monotonic() < give_up:  # noqa: ASYNC110
            await asyncio.sleep(_BARRIER_POLL)
        return late

    async def _load_next(self) -> None:
        async with self._one_at_a_time:
            # Callers from here on may know of changes that this load does not see.
            self._next = None
            try:
                catalog = await self._source.load()
                self._check_loaded(catalog.version)
            except Exception as error:
                self._note_failure(error)
                raise
            await self._serve(catalog)

    def _check_loaded(self, version: int) -> None:
        self._went_back = self._went_back_to = None
        try:
            self.check_version(version)
        except StoreUnavailable as error:
            self._went_back, self._went_back_to = error, version
            raise

    async def _serve(self, catalog: Catalog) -> None:
        snapshot = await self._build(catalog, self._holder.current)
        if snapshot.faults and self._holder.current is None:
            # At a start, what a faulty row was before is known from the file alone.
            last_good = await self._last_good.load()
            if last_good is not None:
                snapshot = await self._build(catalog, await self._build(last_good, None))
        self._swap(catalog, snapshot)

    async def _build(self, catalog: Catalog, before: Snapshot | None) -> Snapshot:
        # Pure computation, but a tenth of a second of it for ten thousand rows.
        return await asyncio.to_thread(build_usable_snapshot, catalog, self._kinds, before, self.prices)

    def _swap(self, catalog: Catalog, snapshot: Snapshot) -> None:
        self._loaded = snapshot.version
        self._is_empty = not (catalog.providers or catalog.credentials or catalog.faults)
        self._holder.current = snapshot
        now = self._clock.unix_us()
        refused = None
        if snapshot.faults:
            refused = ConfigRejection(
                version=snapshot.version, faults=snapshot.faults, kept=snapshot.kept, at=now
            )
        self._holder.status = ConfigStatus(
            version=snapshot.version, loaded_at=now, source="database", refused=refused
        )
        self._worker_registry.publish_version(snapshot.version)
        self._last_good.save(catalog, snapshot.faults)
        notify(self._listener.swapped, snapshot)
        if refused is not None:
            notify(self._listener.refused, refused)

    def _forget(self, load: asyncio.Task[None]) -> None:
        self._loads.discard(load)
        if self._next is load:
            # Cancelled before it began.
            self._next = None
        # Retrieved, so that asyncio does not warn about a load whose callers are all gone.
        if not load.cancelled():
            load.exception()

    def _note_failure(self, error: Exception) -> None:
        # Only our own errors have texts that are known to hold no secret.
        reason = error.message if isinstance(error, GatewayError) else f"unexpected {type(error).__name__}"
        self._holder.status = msgspec.structs.replace(self._holder.status, error=reason)
        notify(self._listener.failed, reason)
