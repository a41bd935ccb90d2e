"""Nothing overtakes a write of a connection, and all else is asked of the connection itself."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.sockets.batched_transport import LARGEST, BatchedTransport, batched
from llm_gateway.sockets.write_batch import ALWAYS, LONE_TURNS, MOST, WriteBatch, make_write_batch
from tests.fakes.wires import MakeBatch, Wire

LARGE = b"x" * (LARGEST + 1)


async def test_an_aborted_connection_sends_nothing_before_its_end(make_batch: MakeBatch) -> None:
    wire = Wire()
    transport = BatchedTransport(wire, make_batch())
    transport.write(b"1")
    transport.abort()
    assert wire.seen == [("a", "abort")]


@given(
    st.lists(st.sampled_from(["write", "large", "lines", "eof", "close", "turn"]), max_size=3 * MOST),
    st.sampled_from([1, LONE_TURNS, ALWAYS]),
    st.booleans(),
)
def test_nothing_overtakes_a_write(acts: list[str], patience: int, compiled: bool) -> None:
    async def played(transport: asyncio.Transport) -> None:
        for number, act in enumerate(acts):
            if act == "write":
                transport.write(b"%d" % number)
            elif act == "large":
                transport.write(b"%d" % number + LARGE)
            elif act == "lines":
                transport.writelines([b"%d" % number, b"."])
            elif act == "eof":
                transport.write_eof()
            elif act == "close":
                transport.close()
            else:
                await asyncio.sleep(0)
        await asyncio.sleep(0)

    plain, wire = Wire(), Wire()
    asyncio.run(played(plain))
    asyncio.run(played(batched(wire, make_write_batch(patience=patience, compiled=compiled))))
    assert wire.seen == plain.seen


def test_without_a_batch_a_transport_is_left_as_it_is() -> None:
    wire = Wire()
    assert batched(wire, None) is wire


@pytest.mark.parametrize(
    "name",
    [
        "can_write_eof", "get_write_buffer_size", "get_write_buffer_limits", "is_reading", "get_protocol",
        "is_closing",
    ],
)  # fmt: skip
def test_all_else_is_asked_of_the_connection(name: str) -> None:
    class Asked:
        def __getattr__(self, asked: str) -> Any:
            return lambda *_: asked

    assert getattr(BatchedTransport(cast("Any", Asked()), WriteBatch()), name)() == name


def test_what_takes_arguments_is_passed_on_with_them() -> None:
    calls: list[object] = []

    class Asked:
        def __getattr__(self, asked: str) -> Any:
            return lambda *given: calls.append((asked, *given))

    transport = BatchedTransport(cast("Any", Asked()), WriteBatch())
    transport.get_extra_info("socket")
    transport.set_write_buffer_limits(2, 1)
    transport.set_protocol(cast("Any", "protocol"))
    transport.pause_reading()
    transport.resume_reading()
    assert calls == [
        ("get_extra_info", "socket", None), ("set_write_buffer_limits", 2, 1), ("set_protocol", "protocol"),
        ("pause_reading",), ("resume_reading",),
    ]  # fmt: skip
