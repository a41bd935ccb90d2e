"""The writes of a turn are made at its end, in order."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any, cast

import pytest

from llm_gateway.sockets.batched_transport import LARGEST, BatchedTransport
from llm_gateway.sockets.write_batch import LONE_TURNS, LONE_WRITES, MOST, MOST_BYTES
from tests.fakes.wires import MakeBatch, Wire


async def test_the_writes_of_a_turn_are_made_at_its_end_in_order(make_batch: MakeBatch) -> None:
    seen: list[tuple[str, object]] = []
    batch = make_batch()
    one, other = (BatchedTransport(Wire(name, seen), batch) for name in "ab")
    one.write(b"1")
    other.writelines([b"2", b"3"])
    one.write(b"4")
    assert (seen, batch.turn) == ([], 0)
    await asyncio.sleep(0)
    assert seen == [("a", b"1"), ("b", b"23"), ("a", b"4")]
    assert batch.turn == 1
    one.write(b"5")
    await asyncio.sleep(0)
    assert seen[3:] == [("a", b"5")]


async def test_a_callback_of_the_next_turn_finds_the_writes_made(make_batch: MakeBatch) -> None:
    wire = Wire()
    transport = BatchedTransport(wire, make_batch())
    transport.write(b"1")
    found: list[int] = []
    asyncio.get_running_loop().call_soon(lambda: found.append(len(wire.seen)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert found == [1]


async def test_so_many_writes_do_not_wait_for_the_end_of_the_turn(make_batch: MakeBatch) -> None:
    wire, batch = Wire(), make_batch()
    transport = BatchedTransport(wire, batch)
    for number in range(MOST + 1):
        transport.write(b"%d" % number)
    assert len(wire.seen) == MOST
    await asyncio.sleep(0)
    assert [data for _, data in wire.seen] == [b"%d" % number for number in range(MOST + 1)]


async def test_what_comes_before_all_writes_is_called_first(make_batch: MakeBatch) -> None:
    seen: list[tuple[str, object]] = []
    batch = make_batch()
    assert batch.before is None
    batch.before = lambda: seen.append(("before", len(seen)))
    transport = BatchedTransport(Wire("a", seen), batch)
    transport.write(b"1")
    transport.write(b"2")
    await asyncio.sleep(0)
    assert seen == [("before", 0), ("a", b"1"), ("a", b"2")]
    transport.write(b"x" * (LARGEST + 1))
    assert (seen[3][0], seen[-2][0], seen[-1][0]) == ("before", "before", "a")


async def test_nothing_is_written_while_what_comes_before_fails(make_batch: MakeBatch) -> None:
    wire, batch = Wire(), make_batch()
    transport = BatchedTransport(wire, batch)

    def fail() -> None:
        raise KeyboardInterrupt

    batch.before = fail
    transport.write(b"1")
    for write in (batch.make, lambda: transport.write(b"x" * (LARGEST + 1))):
        with pytest.raises(KeyboardInterrupt):
            write()
    assert wire.seen == []
    batch.before = None
    await asyncio.sleep(0)
    assert [data for _, data in wire.seen] == [b"1"]


async def test_a_closed_transport_does_not_keep_others_from_being_written(make_batch: MakeBatch) -> None:
    batch, gone, well = make_batch(), Wire("gone"), Wire("well")
    gone.fault = RuntimeError("the handler is closed")
    for wire in (gone, well, gone):
        BatchedTransport(wire, batch).write(b"1")
    await asyncio.sleep(0)
    assert well.seen == [("well", b"1")]
    assert not batch.writes


async def test_a_write_that_fails_for_another_reason_is_reported_and_holds_up_nobody(
    make_batch: MakeBatch,
) -> None:
    loop, reported = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _loop, context: reported.append(context["exception"]))
    batch, faulty, well = make_batch(), Wire("faulty"), Wire("well")
    faulty.fault = TypeError("a bug")
    for wire in (faulty, well):
        BatchedTransport(wire, batch).write(b"1")
    await asyncio.sleep(0)
    assert well.seen == [("well", b"1")]
    assert reported == [faulty.fault]


async def test_after_turns_with_one_write_writes_are_made_at_once_for_a_while(make_batch: MakeBatch) -> None:
    wire, batch = Wire(), make_batch()
    transport = BatchedTransport(wire, batch)
    for _ in range(LONE_TURNS):
        transport.write(b"1")
        assert batch.writes
        await asyncio.sleep(0)
    wire.seen.clear()
    for number in range(LONE_WRITES):
        turn = batch.turn
        if number % 2:
            transport.write(b"1")
        else:
            transport.writelines([b"1"])
        assert (len(wire.seen), batch.turn) == (number + 1, turn + 1)
    # One turn is looked at again: it has one write, as all before.
    transport.write(b"1")
    assert batch.writes
    await asyncio.sleep(0)
    wire.seen.clear()
    for _ in range(LONE_WRITES):
        transport.write(b"1")
    assert len(wire.seen) == LONE_WRITES
    # Now it has two.
    transport.write(b"1")
    transport.write(b"2")
    assert len(wire.seen) == LONE_WRITES
    await asyncio.sleep(0)
    for _ in range(LONE_TURNS):
        transport.write(b"1")
        assert batch.writes
        await asyncio.sleep(0)


async def test_a_compiled_batch_leaves_nothing_behind(make_batch: MakeBatch) -> None:
    class Data(bytearray): ...

    batch, wire = make_batch(), Wire()
    transport = BatchedTransport(wire, batch)
    datas = [Data(b"%d" % number) for number in range(3 * MOST)]
    left = [weakref.ref(data) for data in datas]
    for data in datas:
        transport.write(data)
    del data, datas
    await asyncio.sleep(0)
    assert [one() for one in left] == [None] * len(left)
    # A transport refers to its batch, which may refer to it in turn.
    transport.write(b"1")
    gone = weakref.ref(wire)
    del wire, transport, batch
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None


async def test_a_write_takes_one_argument(make_batch: MakeBatch) -> None:
    write = cast("Any", BatchedTransport(Wire(), make_batch()).write)
    for wrong in (write, lambda: write(b"1", b"2"), lambda: write(1)):
        with pytest.raises(TypeError):
            wrong()


async def test_bytes_that_wait_are_bounded_too(make_batch: MakeBatch) -> None:
    wire, batch = Wire(), make_batch()
    transport = BatchedTransport(wire, batch)
    transport.write(b"x" * (MOST_BYTES // 2))
    transport.write(b"x" * (MOST_BYTES // 2 - 1))
    assert wire.seen == []
    transport.write(b"x")
    assert sum(len(cast("bytes", data)) for _, data in wire.seen) == MOST_BYTES
    # What waits is counted from the start again.
    transport.write(b"x" * (MOST_BYTES - 1))
    assert len(wire.seen) == 3


async def test_the_end_of_the_process_cuts_no_other_connection_short(make_batch: MakeBatch) -> None:
    batch, ending, well = make_batch(), Wire("ending"), Wire("well")
    ending.fault = KeyboardInterrupt()  # type: ignore[assignment]
    BatchedTransport(well, batch).write(b"1")
    BatchedTransport(ending, batch).write(b"2")
    BatchedTransport(well, batch).write(b"3")
    with pytest.raises(KeyboardInterrupt):
        batch.make()
    assert well.seen == [("well", b"1")]
    await asyncio.sleep(0)
    assert well.seen == [("well", b"1"), ("well", b"3")]
