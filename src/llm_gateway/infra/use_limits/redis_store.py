"""What accounts use, counted by several machines together through Redis, with a fallback for its failures."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import tzinfo
from typing import Literal, NamedTuple, get_args

from llm_gateway.core.calendar import Period, day_of
from llm_gateway.flow.ports.limits import Room
from llm_gateway.flow.ports.use_limits import Claim, HeldUse, LimitName, Shortage, UseStore
from llm_gateway.infra.redis_pool import PAUSE_SECONDS, WAIT_SECONDS, open_redis_pool
from llm_gateway.infra.sharing_status import SharingStatus
from llm_gateway.infra.use_limits.redis_batch import Reply, ScriptBatch
from llm_gateway.infra.use_limits.redis_scripts import LEASE_SECONDS, RENEW_SECONDS, Scripts
from llm_gateway.infra.use_limits.shared import SharedUseStore

_NAMES: tuple[LimitName, ...] = get_args(LimitName)
# Redis computes with doubles, whose integers end at 2^53.
_MOST = 1 << 50
_SCRIPTS = Scripts()
# The most holds that one script renews.
_RENEWED_AT_ONCE = 1000


class _Token(NamedTuple):
    """What a request holds in Redis (None = it was admitted without Redis), and on this machine."""

    name: str | None
    keys: list[str]
    claims: Sequence[Claim]
    second: int
    minute: int
    day: int
    machine: HeldUse | None


class RedisUseStore(UseStore):
    """Implements the `UseStore` port over Redis (5 or newer), for any number of machines.

    A request is counted in Redis and on its machine, and needs room in both, so that a machine goes on from its own
    counts when Redis fails. A Redis that fails or is slow delays a request by `wait_seconds` at most, and only one
    request per second while that lasts. Meanwhile, with `fail="open"` each machine applies the limits on its own;
    with `fail="closed"` every request under a limit is refused.
    """

    def __init__(
        self,
        url: str,
        machine: SharedUseStore,
        *,
        zone: tzinfo,
        namespace: str,
        fail: Literal["open", "closed"] = "open",
        wait_seconds: float = WAIT_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
        renew_seconds: float = RENEW_SECONDS,
        scripts: Scripts = _SCRIPTS,
        clock: Callable[[], float] = time.monotonic,
        unix_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """Use the Redis at `url`, and `machine` as well; `close` closes both. Connects on first use.

        Machines with the same `namespace` share their counts. Raises StartupError when `url` is not a Redis URL.
        """
        self._machine = machine
        self._zone = zone
        self._fail = fail
        self._wait_seconds = wait_seconds
        self._lease_us = int(lease_seconds * 1e6)
        self._renew_seconds = renew_seconds
        self._clock = clock
        self._unix_us = unix_us
        self._batch = ScriptBatch(open_redis_pool(url, wait_seconds=wait_seconds), self._lost)
        self._hold = self._batch.register(scripts.hold)
        self._end = self._batch.register(scripts.end)
        self._renew = self._batch.register(scripts.renew)
        # In one slot of a cluster, because one script touches several.
        self._prefix = f"llm-gateway:use:{{{namespace}}}:"
        self._process = uuid.uuid4().hex
        self._number = 0
        self._retry_at = 0.0
        self._day = Period(0, 0)
        # Holds that have to be renewed, by the keys of their accounts.
        self._open: dict[str, set[str]] = {}
        self._renewer: asyncio.Task[None] | None = None
        fallback = (
            "each machine applies the limits on its own"
            if fail == "open"
            else "requests under a limit are rejected"
        )
        self.sharing = SharingStatus("Redis", fallback, clock, shared="Limits of use")

    def hold(self, claims: Sequence[Claim]) -> Awaitable[HeldUse | Shortage]:
        return self._hold_later(claims)

    def settle(self, held: HeldUse, tokens: int) -> None:
        token = _token_of(held)
        if token.machine is not None:
            self._machine.settle(token.machine, tokens)
        if token.name is not None:
            self._tell_end(token, min(max(tokens, 0), _MOST))

    def release(self, held: HeldUse) -> None:
        token = _token_of(held)
        if token.machine is not None:
            self._machine.release(token.machine)
        if token.name is not None:
            self._tell_end(token, -1)

    def shortage(self, claims: Sequence[Claim]) -> Shortage | None:
        """Return what this machine alone refuses."""
        return self._machine.shortage(claims)

    def open_holds(self) -> int:
        """Return how many holds there are on this machine."""
        return self._machine.open_holds()

    async def flush(self) -> None:
        """Wait until Redis knows of every end so far."""
        await self._batch.flush()

    async def close(self) -> None:
        if self._renewer is not None:
            self._renewer.cancel()
        await self._batch.close(self._wait_seconds)
        await self._machine.close()

    async def _hold_later(self, claims: Sequence[Claim]) -> HeldUse | Shortage:
        if self.sharing.failing and not self._may_try():
            self.sharing.unshared += 1
            return await self._hold_without(claims)
        try:
            async with asyncio.timeout(self._wait_seconds):
                token, answer = await self._ask(claims)
        except Exception as fault:  # noqa: BLE001 - the port never raises
            self._retry_at = self._clock() + PAUSE_SECONDS
            self.sharing.failed(type(fault).__name__)
            return await self._hold_without(claims)
        self._retry_at = 0.0
        if self.sharing.failing:
            self.sharing.worked()
        if isinstance(answer, Shortage):
            return answer
        try:
            on_machine = self._machine.hold(claims)
            if not isinstance(on_machine, (HeldUse, Shortage)):
                on_machine = await on_machine
        except BaseException:
            self._tell_end(token, -1)
            raise
        if isinstance(on_machine, Shortage):
            self._tell_end(token, -1)
            return on_machine
        return HeldUse(token._replace(machine=on_machine), answer.requests, answer.tokens)

    async def _ask(self, claims: Sequence[Claim]) -> tuple[_Token, HeldUse | Shortage]:
        self._number += 1
        name = f"{self._process}/{self._number}"
        now, day = self._unix_us(), self._today()
        keys = [f"{self._prefix}{claim.key}:{what}" for claim in claims for what in ("counts", "holds")]
        arguments: list[str | int] = [name, self._lease_us, day.start, day.end - now]
        for claim in claims:
            arguments.append(min(claim.tokens, _MOST))
            limits = claim.limits
            for limit in _NAMES:
                value = getattr(limits, limit)
                arguments.append(-1 if value is None else min(value, _MOST))

        def admitted(reply: Reply) -> _Token:
            return _Token(name, keys, claims, reply[1], reply[2], day.start, None)

        def give_back(reply: Reply) -> None:
            if reply[0]:
                self._tell_end(admitted(reply), -1)

        reply = await self._batch.ask(self._hold, keys, arguments, give_back)
        if not reply[0]:
            return _NO_TOKEN, _shortage(reply, day)
        token = admitted(reply)
        self._keep(token)
        return token, HeldUse(token, _room(reply[3:6]), _room(reply[6:9]))

    async def _hold_without(self, claims: Sequence[Claim]) -> HeldUse | Shortage:
        """Hold on this machine alone, or refuse, as LIMITS_FAIL says."""
        if self._fail == "closed":
            name = next((name for name in _NAMES if getattr(claims[0].limits, name) is not None), _NAMES[0])
            return Shortage(0, name, getattr(claims[0].limits, name) or 0, 0, 0, 1.0)
        answer = self._machine.hold(claims)
        if not isinstance(answer, (HeldUse, Shortage)):
            answer = await answer
        if isinstance(answer, Shortage):
            return answer
        return HeldUse(_NO_TOKEN._replace(machine=answer), answer.requests, answer.tokens)

    def _tell_end(self, token: _Token, tokens: int) -> None:
        arguments: list[str | int] = [tokens, token.second, token.minute, token.day]
        for position, claim in enumerate(token.claims):
            limits = claim.limits
            member = _member(token, claim)
            if member:
                members = self._open.get(token.keys[2 * position + 1])
                if members is not None:
                    members.discard(member)
            arguments.append(member)
            arguments += [
                int(value is not None)
                for value in (
                    limits.requests_per_second,
                    limits.requests_per_minute,
                    limits.requests_per_day,
                    limits.tokens_per_minute,
                    limits.tokens_per_day,
                )
            ]
        try:
            self._batch.tell(self._end, token.keys, arguments)
        except RuntimeError:
            # No loop runs any more: the lease ends.
            return

    def _keep(self, token: _Token) -> None:
        """Renew the holds of a request until it ends."""
        for position, claim in enumerate(token.claims):
            if member := _member(token, claim):
                self._open.setdefault(token.keys[2 * position + 1], set()).add(member)
        if self._open and (self._renewer is None or self._renewer.done()):
            self._renewer = asyncio.get_running_loop().create_task(self._renew_all())

    async def _renew_all(self) -> None:
        while self._open:
            await asyncio.sleep(self._renew_seconds)
            for key, members in list(self._open.items()):
                if not members:
                    del self._open[key]
                    continue
                renewed = list(members)
                for start in range(0, len(renewed), _RENEWED_AT_ONCE):
                    part = renewed[start : start + _RENEWED_AT_ONCE]
                    self._batch.tell(self._renew, [key], [self._lease_us, *part])

    def _today(self) -> Period:
        now = self._unix_us()
        if not self._day.start <= now < self._day.end:
            self._day = day_of(now, self._zone)
        return self._day

    def _may_try(self) -> bool:
        """Tell whether this request may try Redis again: one per PAUSE_SECONDS."""
        now = self._clock()
        if now < self._retry_at:
            return False
        if self._retry_at:
            self._retry_at = now + PAUSE_SECONDS
        return True

    def _lost(self, fault: Exception) -> None:
        """Note that the end of a request did not reach Redis."""
        self._retry_at = self._clock() + PAUSE_SECONDS
        self.sharing.failed(type(fault).__name__)


_NO_TOKEN = _Token(None, [], (), 0, 0, 0, None)


def _token_of(held: HeldUse) -> _Token:
    assert isinstance(held.token, _Token)  # noqa: S101 - as `hold` made it
    return held.token


def _member(token: _Token, claim: Claim) -> str:
    """Return the name of a claim's hold; "" if it has none."""
    limits = claim.limits
    if limits.concurrent_requests is limits.tokens_per_minute is limits.tokens_per_day is None:
        return ""
    return f"{token.name}:{min(claim.tokens, _MOST)}"


def _shortage(reply: Reply, day: Period) -> Shortage:
    _, position, name, limit, used, held, wait = reply
    of_day = _NAMES[name].endswith("per_day")
    return Shortage(
        position, _NAMES[name], limit, used, held, None if wait < 0 else wait / 1e6, day.end if of_day else 0
    )


def _room(numbers: Sequence[int]) -> Room | None:
    limit, remaining, reset_us = numbers
    return None if remaining < 0 else Room(limit, remaining, reset_us / 1e6)
