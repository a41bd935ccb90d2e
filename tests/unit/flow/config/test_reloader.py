"""Load, build, swap: coalesced, one at a time, and every valid row of the newest configuration is in force."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.providers import Provider
from llm_gateway.core.config.snapshot import Snapshot, build_snapshot
from llm_gateway.flow.config.reloader import Reloader, SnapshotHolder
from llm_gateway.flow.config.rows.store import LastGoodStore
from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.flow.ports.listeners import ConfigRejection, ReloadListener
from tests.fakes.in_memory import FakeClock, credential, provider
from tests.fakes.stores import KINDS
from tests.fakes.worker_registry import FakeWorkerRegistry


class Source:
    """A catalog that tests change, and that takes a moment to load."""

    def __init__(self) -> None:
        self.stored = Catalog(version=1)
        self.failure: Exception | None = None
        self.loads = 0
        self.loading = 0
        self.asked = 0

    async def load(self) -> Catalog:
        self.loads += 1
        self.loading += 1
        assert self.loading == 1, "two loads at once"
        seen = self.stored
        await asyncio.sleep(0.001)
        self.loading -= 1
        if self.failure is not None:
            raise self.failure
        return seen

    async def version(self) -> int:
        self.asked += 1
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        return self.stored.version

    def change(self, *providers: Provider) -> None:
        self.stored = Catalog(version=self.stored.version + 1, providers=providers)


class LastGood(LastGoodStore):
    def __init__(self, saved: Catalog | None = None) -> None:
        self.saved = saved
        self.faults: tuple[Fault, ...] = ()

    def save(self, catalog: Catalog, faults: Sequence[Fault] = ()) -> None:
        self.saved = catalog
        self.faults = tuple(faults)

    async def load(self) -> Catalog | None:
        return self.saved


class Listener(ReloadListener):
    def __init__(self) -> None:
        self.told: list[object] = []

    def swapped(self, snapshot: Snapshot) -> None:
        self.told.append(snapshot.version)

    def refused(self, refusal: ConfigRejection) -> None:
        self.told.append(refusal)

    def failed(self, reason: str) -> None:
        self.told.append(reason)

    def went_back(self, version: int, before: int) -> None:
        self.told.append(("went back", version, before))


class ReloaderBench:
    def __init__(self, saved: Catalog | None = None) -> None:
        self.source = Source()
        self.holder = SnapshotHolder()
        self.worker_registry = FakeWorkerRegistry()
        self.last_good = LastGood(saved)
        self.clock = FakeClock()
        self.listener = Listener()
        self.reloader = Reloader(
            holder=self.holder,
            source=self.source,
            kinds=KINDS,
            worker_registry=self.worker_registry,
            last_good=self.last_good,
            clock=self.clock,
            listener=self.listener,
        )

    @property
    def served(self) -> int | None:
        return None if self.holder.current is None else self.holder.current.version


BROKEN = provider("broken", api_base="nonsense")


async def test_a_reload_serves_publishes_and_keeps() -> None:
    bench = ReloaderBench()
    before = bench.served
    await bench.reloader.start()
    assert before is None
    assert bench.served == bench.holder.status.version == 1
    assert bench.holder.status.loaded_at == bench.clock.unix_us()
    assert bench.worker_registry.published == [1]
    assert bench.last_good.saved is bench.source.stored
    assert bench.listener.told == [1]


async def test_200_changes_at_once_coalesce() -> None:
    bench = ReloaderBench()
    await bench.reloader.start()

    async def change(number: int) -> None:
        bench.source.change(provider("p", weight=number))
        version = bench.source.stored.version
        await asyncio.sleep(0.0001 * (number % 7))
        await bench.reloader.reload()
        assert bench.served is not None
        assert bench.served >= version, "a reload must see what was there when it was asked for"

    await asyncio.gather(*(change(number) for number in range(200)))
    assert bench.served == 201
    assert bench.source.loads < 20


async def test_a_caller_that_goes_away_does_not_take_the_load_along() -> None:
    bench = ReloaderBench()
    first = asyncio.create_task(bench.reloader.reload())
    second = asyncio.create_task(bench.reloader.reload())
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).version == 1


async def test_closing_ends_the_loads_that_nobody_waits_for() -> None:
    bench = ReloaderBench()
    running = asyncio.create_task(bench.reloader.reload())
    await asyncio.sleep(0)
    behind = asyncio.create_task(bench.reloader.reload())
    await asyncio.sleep(0)
    for caller in (running, behind):
        caller.cancel()
    await asyncio.gather(running, behind, return_exceptions=True)
    assert bench.source.loading == 1
    await bench.reloader.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert others == set()
    assert bench.served is None
    await bench.reloader.close()


async def test_reload_if_newer_loads_only_what_was_not_judged_before() -> None:
    bench = ReloaderBench()
    await bench.reloader.start()
    for _ in range(3):
        await bench.reloader.reload_if_newer()
        await bench.reloader.reload_if_newer(1)
    assert bench.source.loads == 1
    assert bench.source.asked == 3
    bench.source.change(BROKEN)
    for _ in range(3):
        await bench.reloader.reload_if_newer()
    assert bench.source.loads == 2, "a catalog with faults is loaded once"


async def test_an_older_catalog_than_the_one_in_force_is_refused_until_it_is_gone() -> None:
    bench = ReloaderBench()
    await bench.reloader.start()
    bench.source.change(provider("a"))
    await bench.reloader.reload_if_newer()
    bench.source.stored = Catalog(version=1)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="went back from configuration version 2 to 1"):
            await bench.reloader.reload_if_newer()
    assert bench.source.loads == 3, "known without reading it again"
    with pytest.raises(StoreUnavailable, match="Restart the gateway"):
        await bench.reloader.reload()
    with pytest.raises(StoreUnavailable, match="went back"):
        bench.reloader.check_version(1)
    assert bench.served == 2
    assert bench.reloader.went_back == bench.holder.status.error
    # Another one that was restored, and is not older.
    bench.source.stored = Catalog(version=2)
    await bench.reloader.reload_if_newer()
    assert (bench.reloader.went_back, bench.holder.status.error) == (None, None)
    bench.reloader.check_version(2)


async def test_a_start_names_an_older_catalog_than_the_one_in_force_before() -> None:
    bench = ReloaderBench(Catalog(version=7))
    await bench.reloader.start()
    assert bench.served == 1
    assert ("went back", 1, 7) in bench.listener.told
    same = ReloaderBench(Catalog(version=1))
    await same.reloader.start()
    assert same.listener.told == [1]


async def test_after_a_start_from_the_file_an_older_catalog_is_refused() -> None:
    bench = ReloaderBench(Catalog(version=7))
    bench.source.failure = StoreUnavailable("down")
    await bench.reloader.start()
    bench.source.failure = None
    with pytest.raises(StoreUnavailable, match="went back"):
        await bench.reloader.reload_if_newer()
    assert (bench.served, bench.holder.status.source) == (7, "last_good_file")


async def test_a_faulty_row_stays_as_it_was_and_the_others_are_applied() -> None:
    bench = ReloaderBench()
    good, other = provider("broken"), provider("other", id=2)
    bench.source.change(good, other)
    await bench.reloader.start()
    disabled = Credential(id=1, name="leaked", key_hash=b"k", is_enabled=False)
    bench.source.change(BROKEN, provider("other", id=2, weight=7), provider("new", id=3))
    bench.source.stored = msgspec.structs.replace(bench.source.stored, credentials=(disabled,))
    status = await bench.reloader.reload()
    current = bench.holder.current
    assert current is not None
    served = {key: each.provider for key, each in current.by_key.items()}
    assert (served["broken"], served["other"].weight, "new" in served) == (good, 7, True)
    account = current.account(b"k")
    assert account is not None
    assert not account.credential.is_enabled, "a key that was disabled does not wait for the repair"
    assert (status.version, status.source) == (3, "database")
    assert status.refused is not None
    assert (status.refused.version, status.refused.kept) == (3, ("provider 'broken'",))
    assert "provider 'broken': api_base" in str(status.refused.faults[0])
    assert bench.worker_registry.published == [2, 3]
    assert bench.last_good.faults == status.refused.faults
    assert bench.listener.told == [2, 3, status.refused]
    bench.source.change(good)
    status = await bench.reloader.reload()
    assert (status.version, status.refused) == (4, None)


async def test_a_database_that_is_away_leaves_the_last_good_one() -> None:
    bench = ReloaderBench()
    await bench.reloader.start()
    for failure, says in (
        (StoreUnavailable("gone"), "gone"),
        (RuntimeError("hunter2"), "unexpected RuntimeError"),
    ):
        bench.source.failure = failure
        with pytest.raises(type(failure)):
            await bench.reloader.reload()
        assert (bench.served, bench.holder.status.error) == (1, says)
    bench.source.failure = None
    assert (await bench.reloader.reload()).error is None


async def test_design_4_2_a_start_without_a_database_takes_the_saved_copy() -> None:
    bench = ReloaderBench(saved=Catalog(version=9, providers=(provider("saved"),)))
    bench.source.failure = StoreUnavailable("gone")
    await bench.reloader.start()
    status = bench.holder.status
    assert (bench.served, status.version, status.source, status.error) == (9, 9, "last_good_file", "gone")
    bench.source.failure = None
    bench.source.stored = Catalog(version=9)
    await bench.reloader.reload_if_newer()
    assert (bench.served, bench.holder.status.source) == (9, "database")


async def test_an_empty_database_is_told_from_one_that_is_away() -> None:
    bench = ReloaderBench(saved=Catalog(version=1))
    told = [bench.reloader.is_empty]
    bench.source.failure = StoreUnavailable("gone")
    await bench.reloader.start()
    told.append(bench.reloader.is_empty)
    bench.source.failure = None
    catalogs = (
        Catalog(version=2),
        Catalog(version=3, providers=(provider("a"),)),
        Catalog(version=4, credentials=(credential(),)),
        Catalog(version=5, faults=(Fault("provider", "a", "weight", "weight must be a whole number", 1),)),
        Catalog(version=6),
    )
    for catalog in catalogs:
        bench.source.stored = catalog
        await bench.reloader.reload()
        told.append(bench.reloader.is_empty)
    assert told == [False, False, True, False, False, False, True]


async def test_a_start_with_a_faulty_row_serves_the_rest() -> None:
    bench = ReloaderBench()
    bench.source.change(BROKEN, provider("good", id=2))
    await bench.reloader.start()
    status = bench.holder.status
    assert bench.holder.current is not None
    assert list(bench.holder.current.by_key) == ["good"]
    assert (status.version, status.source, status.error) == (2, "database", None)
    assert status.refused is not None
    assert status.refused.kept == ()
    await bench.reloader.reload_if_newer()
    assert bench.source.loads == 1


async def test_a_start_knows_from_the_saved_copy_what_a_faulty_row_was() -> None:
    was = provider("broken", weight=3)
    bench = ReloaderBench(saved=Catalog(version=1, providers=(was, provider("deleted since", id=2))))
    bench.source.change(BROKEN)
    await bench.reloader.start()
    assert bench.holder.current is not None
    assert [each.provider for each in bench.holder.current.providers] == [was]
    assert (bench.served, bench.holder.status.source) == (2, "database")


async def test_a_start_with_nothing_at_all_fails() -> None:
    bench = ReloaderBench()
    bench.source.failure = StoreUnavailable("gone")
    with pytest.raises(StoreUnavailable):
        await bench.reloader.start()
    assert bench.served is None


async def test_a_saved_copy_with_a_faulty_row_serves_the_rest() -> None:
    bench = ReloaderBench(saved=Catalog(version=9, providers=(BROKEN, provider("good", id=2))))
    bench.source.failure = StoreUnavailable("gone")
    await bench.reloader.start()
    status = bench.holder.status
    assert (status.version, status.source, status.error) == (9, "last_good_file", "gone")
    assert status.refused is not None
    assert bench.holder.current is not None
    assert list(bench.holder.current.by_key) == ["good"]


async def test_an_edit_is_adopted_unless_something_newer_is_served() -> None:
    bench = ReloaderBench()
    await bench.reloader.start()
    for version, expected in ((5, 5), (4, 5), (6, 6)):
        catalog = Catalog(version=version)
        await bench.reloader.adopt(catalog, build_snapshot(catalog, KINDS))
        assert bench.served == expected
    await bench.reloader.reload_if_newer(6)
    assert bench.source.loads == 1


async def test_an_edit_that_overtakes_a_load_stays() -> None:
    bench = ReloaderBench()
    await bench.reloader.start()
    bench.source.change(provider("p"))
    loading = asyncio.create_task(bench.reloader.reload())
    while not bench.source.loading:  # noqa: ASYNC110 - a fake that tells nobody
        await asyncio.sleep(0)
    catalog = Catalog(version=3)
    await bench.reloader.adopt(catalog, build_snapshot(catalog, KINDS))
    await loading
    assert bench.served == 3


async def test_c21_the_barrier_waits_for_every_worker_and_names_stale_workers() -> None:
    bench = ReloaderBench()
    bench.worker_registry.others = {11: 3, 12: 2, 13: 1}

    async def follow() -> None:
        await asyncio.sleep(0.01)
        bench.worker_registry.others[12] = 3

    following = asyncio.create_task(follow())
    waiting = asyncio.create_task(bench.reloader.await_everyone(3))
    await following
    await asyncio.sleep(0.01)
    assert bench.worker_registry.announced == 3
    assert not waiting.done()
    bench.clock.now += 2.0
    assert await waiting == (13,)
    bench.worker_registry.others[13] = 4
    assert await bench.reloader.await_everyone(3) == ()
