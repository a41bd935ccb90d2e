"""Flow control of a client's connection: who waits for room, and who is told once there is some."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

from llm_gateway.server.http1.client_connection import FlowControl


async def test_all_that_wait_for_room_go_on_once_there_is_some() -> None:
    flow = FlowControl(Mock(spec=asyncio.Transport))
    await asyncio.wait_for(flow.drain(), 1)
    flow.pause_writing()
    waiting = [asyncio.create_task(flow.drain()) for _ in range(3)]
    done, _ = await asyncio.wait(waiting, timeout=0.01)
    assert not done
    flow.resume_writing()
    await asyncio.wait_for(asyncio.gather(*waiting), 1)
    assert not flow.write_paused


async def test_whoever_waits_after_another_pause_waits_for_its_end() -> None:
    flow = FlowControl(Mock(spec=asyncio.Transport))
    flow.pause_writing()
    first = asyncio.create_task(flow.drain())
    await asyncio.sleep(0)
    flow.resume_writing()
    flow.pause_writing()
    second = asyncio.create_task(flow.drain())
    done, pending = await asyncio.wait((first, second), timeout=0.01)
    assert done == {first}
    flow.resume_writing()
    await asyncio.wait_for(asyncio.gather(*pending), 1)


def test_the_transport_is_told_only_of_changes() -> None:
    transport = Mock(spec=asyncio.Transport)
    flow = FlowControl(transport)
    flow.resume_reading()
    flow.pause_reading()
    flow.pause_reading()
    flow.resume_reading()
    flow.resume_reading()
    assert [call[0] for call in transport.method_calls] == ["pause_reading", "resume_reading"]
