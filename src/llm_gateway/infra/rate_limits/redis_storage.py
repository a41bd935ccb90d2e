"""A Redis storage for `limits` that returns exact states in one round trip and sends many hits in one packet."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import NoScriptError, ResponseError

PREFIX = "llm-gateway"
# The most hits in one packet; more wait for the next packet.
_BATCH = 256

# The script of `limits` needs a second round trip for the state and uses each client's clock. This script uses
# Redis' clock and stores the times of admission, newest first. It returns whether the hit was admitted, how many
# more would be, and the microseconds until the next place is free and until all places are.
SCRIPT = """
local key, limit, window, amount = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local function moment(index)
    return tonumber(redis.call('LINDEX', key, index))
end
local used = redis.call('LLEN', key)
if used > 0 and moment(0) > now then
    -- The clock was set back.
    redis.call('DEL', key)
    used = 0
end
if used > 0 and moment(-1) <= now - window then
    local low, high = 0, used - 1
    while low < high do
        local middle = math.floor((low + high) / 2)
        if moment(middle) > now - window then low = middle + 1 else high = middle end
    end
    if low == 0 then redis.call('DEL', key) else redis.call('LTRIM', key, 0, low - 1) end
    used = low
end
local allowed = 0
if used + amount <= limit then
    allowed = 1
    for _ = 1, amount do redis.call('LPUSH', key, string.format('%.0f', now)) end
    used = used + amount
    -- Longer than the window, for this clock counts in milliseconds.
    redis.call('PEXPIRE', key, window / 1000 * 2)
end
local next = 0
if used >= limit then next = moment(limit - 1) + window - now end
local all = 0
if used > 0 then all = moment(0) + window - now end
return {allowed, math.max(0, limit - used), next, all}
"""


class CredentialLimit(RateLimitItemPerSecond):
    """A limit whose count is kept when the limit is changed."""

    def key_for(self, *identifiers: bytes | str | float) -> str:
        """Return the count's name, without the amount that `limits` would include."""
        return "/".join((self.namespace, *map(str, identifiers)))


class State(NamedTuple):
    """The script's result for one hit; times are in microseconds."""

    allowed: bool
    remaining: int
    until_next: int
    until_all: int


class _Waiting(NamedTuple):
    arguments: tuple[str | int, ...]
    answer: asyncio.Future[State]


class BatchingStorage(RedisStorage):
    """Sends the hits that arrive during one exchange together, in the next packet over the same connection.

    Each caller waits on its own future, so that cancelling one does not disturb the others. The client library
    sometimes continues a cancelled command until its socket times out, and no other hit may wait for that.
    """

    # Not registered: it is only constructed here, never looked up by URL.
    STORAGE_SCHEME: list[str] = []  # noqa: RUF012 - as the base class declares it

    def __init__(self, pool: ConnectionPool, script: str = SCRIPT) -> None:
        """Use `pool`, whose timeouts bound every exchange. Connects on first use."""
        # An empty URL, because `limits` would include the true one in its errors; the pool holds it.
        super().__init__(
            "async+redis://",
            implementation="redispy",
            key_prefix=PREFIX,
            connection_pool=pool,  # type: ignore[arg-type] # documented, and left out of the annotation
        )
        self._pool = pool
        self._client = Redis(connection_pool=pool)
        self._script = self._client.register_script(script)
        self._waiting: list[_Waiting] = []
        self._sender: asyncio.Task[None] | None = None
        # The result of the latest hit.
        self.state = State(False, 0, 0, 0)

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Take `amount` places if fewer than `limit` were taken in `expiry` seconds; `state` holds the details."""
        answer: asyncio.Future[State] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting((f"{PREFIX}:{key}", limit, expiry * 1_000_000, amount), answer))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())
        self.state = await answer
        return self.state.allowed

    async def close(self) -> None:
        """Close the connections and cancel the callers that still wait."""
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.cancel()
        for waiting in self._waiting:
            waiting.answer.cancel()
        await self._pool.disconnect()

    async def _send(self) -> None:
        while self._waiting:
            # A caller that was cancelled is not counted.
            batch = [waiting for waiting in self._waiting[:_BATCH] if not waiting.answer.done()]
            del self._waiting[:_BATCH]
            try:
                replies = await self._exchange(batch)
            except Exception as fault:  # noqa: BLE001 - raised in the callers
                replies = [fault] * len(batch)
            for waiting, reply in zip(batch, replies, strict=True):
                if waiting.answer.done():
                    continue
                if isinstance(reply, Exception):
                    waiting.answer.set_exception(reply)
                else:
                    allowed, remaining, until_next, until_all = reply
                    waiting.answer.set_result(State(bool(allowed), remaining, until_next, until_all))

    async def _exchange(self, batch: list[_Waiting]) -> list[list[int] | Exception]:
        if not batch:
            return []
        replies = await self._ask(batch)
        if any(isinstance(reply, NoScriptError) for reply in replies):
            # Redis was restarted and has lost the script: none of these was counted.
            await self._client.script_load(self._script.script)
            lost = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            for at, reply in zip(lost, await self._ask([batch[at] for at in lost]), strict=True):
                replies[at] = reply
        return replies

    async def _ask(self, batch: list[_Waiting]) -> list[list[int] | Exception]:
        if len(batch) == 1:
            # A pipeline of one command costs 1.5 times as much.
            try:
                return [await self._client.evalsha(self._script.sha, 1, *batch[0].arguments)]
            except ResponseError as fault:
                return [fault]
        pipeline = self._client.pipeline(transaction=False)
        for waiting in batch:
            pipeline.evalsha(self._script.sha, 1, *waiting.arguments)
        replies: list[list[int] | Exception] = await pipeline.execute(raise_on_error=False)
        return replies
