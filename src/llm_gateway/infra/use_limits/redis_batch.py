"""Runs Redis scripts in the order in which they were asked for: those asked for during one exchange go together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from redis.asyncio import ConnectionPool, Redis
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError

# The most scripts in one packet; more wait for the next one.
_BATCH = 256

Reply = Any
# Given the reply of a script whose caller no longer waits for it.
OnLate = Callable[[Reply], None]


class _Asked(NamedTuple):
    script: AsyncScript
    keys: Sequence[str]
    arguments: Sequence[str | int]
    # None = nobody waits for the reply.
    answer: asyncio.Future[Reply] | None
    on_late: OnLate | None


class ScriptBatch:
    """Sends scripts over one connection at a time. Each caller waits on its own future and may be cancelled."""

    def __init__(self, pool: ConnectionPool, failed: Callable[[Exception], None]) -> None:
        """`failed` is told why scripts failed for whose reply nobody waits. Connects on first use."""
        self._pool = pool
        self._client = Redis(connection_pool=pool)
        self._failed = failed
        self._waiting: list[_Asked] = []
        self._sender: asyncio.Task[None] | None = None

    async def flush(self) -> None:
        """Wait until everything that was asked for so far was answered."""
        if self._sender is not None:
            await asyncio.wait([self._sender])

    def register(self, script: str) -> AsyncScript:
        return self._client.register_script(script)

    async def ask(
        self, script: AsyncScript, keys: Sequence[str], arguments: Sequence[str | int], on_late: OnLate
    ) -> Reply:
        """Return the reply of a script; `on_late` gets it if the caller was cancelled after it was sent."""
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._add(_Asked(script, keys, arguments, answer, on_late))
        try:
            return await answer
        except asyncio.CancelledError:
            # The reply may have arrived in the same moment.
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                on_late(answer.result())
            raise

    def tell(self, script: AsyncScript, keys: Sequence[str], arguments: Sequence[str | int]) -> None:
        """Run a script for whose reply nobody waits."""
        self._add(_Asked(script, keys, arguments, None, None))

    async def close(self, timeout: float) -> None:
        """Send what was asked for within `timeout` seconds, and close the connections."""
        if self._sender is not None:
            await asyncio.wait([self._sender], timeout=timeout)
            self._sender.cancel()
        for asked in self._waiting:
            if asked.answer is not None:
                asked.answer.cancel()
        await self._pool.disconnect()

    def _add(self, asked: _Asked) -> None:
        self._waiting.append(asked)
        if self._sender is None or self._sender.done():
            self._sender = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        while self._waiting:
            # A caller that was cancelled before is not sent.
            batch = [one for one in self._waiting[:_BATCH] if one.answer is None or not one.answer.done()]
            del self._waiting[:_BATCH]
            if not batch:
                continue
            try:
                replies = await self._exchange(batch)
            except Exception as fault:  # noqa: BLE001 - raised in the callers
                replies = [fault] * len(batch)
            for asked, reply in zip(batch, replies, strict=True):
                self._deliver(asked, reply)

    def _deliver(self, asked: _Asked, reply: Reply) -> None:
        answer = asked.answer
        if answer is None:
            if isinstance(reply, Exception):
                self._failed(reply)
        elif not answer.done():
            if isinstance(reply, Exception):
                answer.set_exception(reply)
            else:
                answer.set_result(reply)
        elif asked.on_late is not None and not isinstance(reply, Exception):
            asked.on_late(reply)

    async def _exchange(self, batch: Sequence[_Asked]) -> list[Reply]:
        replies = await self._run(batch)
        lost = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if lost:
            # Redis was restarted and has lost the scripts: none of these has run.
            for text in {batch[at].script.script for at in lost}:
                await self._client.script_load(text)
            for at, reply in zip(lost, await self._run([batch[at] for at in lost]), strict=True):
                replies[at] = reply
        return replies

    async def _run(self, batch: Sequence[_Asked]) -> list[Reply]:
        pipeline = self._client.pipeline(transaction=False)
        for one in batch:
            pipeline.evalsha(one.script.sha, len(one.keys), *one.keys, *one.arguments)
        replies: list[Reply] = await pipeline.execute(raise_on_error=False)
        return replies
