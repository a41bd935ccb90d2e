"""The flow's ports in memory, so that what happens to a request can be tested without a socket or a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.models import Model
from llm_gateway.core.config.providers import ClientCredentials, Provider
from llm_gateway.core.config.snapshot import Snapshot, build_snapshot
from llm_gateway.core.ledger.records import AttemptBegun, AttemptEnded, UsageRecord
from llm_gateway.core.secret import Secret
from llm_gateway.flow.accounting.rate_limit import RateLimit
from llm_gateway.flow.accounting.refusals import Refusals
from llm_gateway.flow.accounting.reservations import all_of
from llm_gateway.flow.call import Call
from llm_gateway.flow.gateway import Gateway, Options
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.dialect import Dialect, PresentedKey
from llm_gateway.flow.ports.ledger import Journal, Observer, OnKept
from llm_gateway.flow.ports.limits import Limit, RateLimiter, Verdict
from llm_gateway.flow.ports.upstream import OversizedReply, QuietContent, TransportError, Upstream
from llm_gateway.flow.routing.selector import Selector
from llm_gateway.providers.base import UpstreamRequest
from llm_gateway.providers.registry import ADAPTERS, KINDS
from llm_gateway.surfaces.openai.dialect import CHAT
from tests.fakes.virtual_time import VirtualTime

KEY = "sk-test"
# In nanoseconds.
SECOND = 1_000_000_000


class FakeClock(Clock):
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def unix_us(self) -> int:
        return int(self.now * 1_000_000)


class FakeReply:
    """A reply of scripted pieces: bytes, a fault to raise, or seconds of silence (a float)."""

    # Whether it can relay, or leaves all to `read`.
    relays = True

    def __init__(
        self,
        *pieces: bytes | TransportError | float,
        status: int = 200,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
        clock: FakeClock | VirtualTime | None = None,
    ) -> None:
        self.status = status
        self.pieces: list[bytes | TransportError | float] = list(pieces)
        self.headers = {"content-type": content_type, **(headers or {})}
        self.closed = False
        self.finished = False
        self.clock = clock

    def header(self, name: str) -> str | None:
        return self.headers.get(name)

    async def read(self, timeout: float) -> bytes:
        await asyncio.sleep(0)
        if not self.pieces:
            return b""
        piece = self.pieces[0]
        if isinstance(piece, float):
            assert self.clock is not None
            if piece > timeout:
                self.pieces[0] = piece - timeout
                self.clock.now += timeout
                raise TransportError("timeout", "silent")
            self.clock.now += piece
            self.pieces.pop(0)
            return await self.read(timeout)
        self.pieces.pop(0)
        if isinstance(piece, TransportError):
            raise piece
        return piece

    async def read_all(self, limit: int, timeout: float) -> bytes:
        body = b""
        while data := await self.read(timeout):
            body += data
            if len(body) > limit:
                raise OversizedReply
        return body

    async def relay(
        self, take: Callable[[bytes], bool], patience: float, quiet: QuietContent | None = None
    ) -> None:
        await asyncio.sleep(0)
        while self.relays and self.pieces and not isinstance(self.pieces[0], TransportError):
            if isinstance(self.pieces[0], float):
                # Seconds of silence: short ones pass, long ones are a timeout here, too.
                assert self.clock is not None
                silence = self.pieces.pop(0)
                assert isinstance(silence, float)
                self.clock.now += min(silence, patience)
                if silence > patience:
                    raise TransportError("timeout", "silent")
                continue
            piece = self.pieces.pop(0)
            assert isinstance(piece, bytes)
            if not take(piece):
                return

    def finish(self) -> None:
        self.finished = True

    def close(self) -> None:
        self.closed = True


Answer = FakeReply | TransportError | Callable[[UpstreamRequest], FakeReply]


class ScriptedUpstream(Upstream):
    """Answers by the host of the URL, one scripted answer after the other; the last one stays."""

    def __init__(self, **answers: Answer | list[Answer]) -> None:
        self.answers = {host: [a] if not isinstance(a, list) else list(a) for host, a in answers.items()}
        self.requests: list[UpstreamRequest] = []

    async def send(self, request: UpstreamRequest, timeout: float) -> FakeReply:
        await asyncio.sleep(0)
        self.requests.append(request)
        queue = self.answers[request.url.split("/")[2].split(".")[0]]
        answer = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(answer, TransportError):
            raise answer
        return answer(request) if callable(answer) else answer

    @property
    def hosts(self) -> list[str]:
        return [request.url.split("/")[2].split(".")[0] for request in self.requests]

    async def close(self) -> None:
        pass


class FakeLimiter(RateLimiter):
    """Remembers when each request of the last second was admitted; `clock` returns nanoseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._admitted: dict[int, list[int]] = {}

    async def hit(self, credential_id: int, limit: int) -> Verdict:
        return self.hit_nowait(credential_id, limit)

    def hit_nowait(self, credential_id: int, limit: int) -> Verdict:
        if limit <= 0:
            return Verdict(False, limit, 0, 1.0, 1.0)
        now = self._clock()
        admitted = [time for time in self._admitted.get(credential_id, []) if now - time < SECOND]
        allowed = len(admitted) < limit
        if allowed:
            admitted.append(now)
        self._admitted[credential_id] = admitted
        remaining = max(limit - len(admitted), 0)
        # The next request passes when fewer than `limit` of the admitted ones are younger than a second.
        wait = 0.0 if remaining else (admitted[len(admitted) - limit] + SECOND - now) / SECOND
        return Verdict(allowed, limit, remaining, wait, (admitted[-1] + SECOND - now) / SECOND)

    def full(self, credential_id: int, limit: int) -> Verdict | None:
        kept = list(self._admitted.get(credential_id, []))
        verdict = self.hit_nowait(credential_id, limit)
        self._admitted[credential_id] = kept
        return None if verdict.allowed else verdict


class FakeTokens:
    """Gives every provider a token of its own, another one after each that is forgotten."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, ClientCredentials, Secret]] = []
        self.forgotten: list[Secret] = []
        self.fault: TransportError | None = None

    async def token(
        self, provider_id: int, grant: ClientCredentials, secret: Secret, timeout: float
    ) -> Secret:
        await asyncio.sleep(0)
        self.asked.append((provider_id, grant, secret))
        if self.fault is not None:
            raise self.fault
        return Secret(f"token-{len(self.forgotten)}-of-{provider_id}")

    def secrets(self, provider_id: int) -> tuple[Secret, ...]:
        clients = tuple(secret for asked_by, _, secret in self.asked if asked_by == provider_id)
        count = len(self.forgotten) + 1
        return (*clients, *(Secret(f"token-{number}-of-{provider_id}") for number in range(count)))

    def forget(self, provider_id: int, token: Secret) -> None:
        self.forgotten.append(token)


class PlainHasher:
    def hash(self, key: str) -> bytes:
        return b"hash of " + key.encode()


class Recorder(Journal, Observer):
    """Journal and observer in one: keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[AttemptBegun] = []
        self.journalled: list[UsageRecord] = []
        self.records: list[UsageRecord] = []
        self.failed: list[AttemptEnded] = []
        self.ended_attempts: list[AttemptEnded] = []

    def begin(self, attempt: AttemptBegun) -> None:
        self.begun.append(attempt)

    def begin_with_writes(self, attempt: AttemptBegun) -> None:
        self.begin(attempt)

    def write_waiting(self) -> None:
        pass

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        self.ended_attempts.append(attempt)

    def end(self, record: UsageRecord) -> None:
        self.journalled.append(record)

    def end_with_writes(self, record: UsageRecord, on_kept: OnKept | None = None) -> None:
        self.end(record)
        if on_kept is not None:
            on_kept(record)

    def finished(self, record: UsageRecord) -> None:
        self.records.append(record)

    def attempt_failed(self, failed: AttemptEnded) -> None:
        self.failed.append(failed)

    @property
    def record(self) -> UsageRecord:
        """The one record there is."""
        assert len(self.records) == 1, self.records
        return self.records[0]


class WordCounter:
    """A token is a word."""

    def encoding(self, upstream_model: str, public_model: str) -> str:
        return "words"

    async def count(self, encoding: str, texts: Sequence[str]) -> int | None:
        await asyncio.sleep(0)
        return sum(len(text.split()) for text in texts)


class Fixed:
    """A snapshot that never changes."""

    def __init__(self, snapshot: Snapshot | None) -> None:
        self.current = snapshot


def provider(key: str, provider_id: int = 1, **changes: object) -> Provider:
    values: dict[str, object] = {
        "id": provider_id,
        "provider_key": key,
        "provider_type": "openai",
        "api_base": f"https://{key}.test",
        "secret": Secret(f"sk-secret-of-{key}"),
        **changes,
    }
    return Provider(**values)  # type: ignore[arg-type]


def credential(key: str = KEY, credential_id: int = 1, **changes: object) -> Credential:
    values: dict[str, object] = {
        "id": credential_id,
        "name": "tester",
        "key_hash": PlainHasher().hash(key),
        **changes,
    }
    return Credential(**values)  # type: ignore[arg-type]


class FakeGateway:
    """A gateway of fakes, and what it recorded."""

    def __init__(
        self,
        *providers: Provider,
        upstream: ScriptedUpstream,
        credentials: tuple[Credential, ...] | None = None,
        options: Options | None = None,
        models: tuple[Model, ...] = (),
        selector: Selector | None = None,
        time: VirtualTime | None = None,
        limits: tuple[Limit, ...] = (),
        **rows: Any,
    ) -> None:
        """`rows` are further ones of the catalog: its tenants, projects, budgets."""
        self.slept: list[float] = []
        catalog = Catalog(
            version=7,
            providers=providers,
            models=models,
            credentials=(credential(),) if credentials is None else credentials,
            **rows,
        )
        self.clock: FakeClock | VirtualTime = time or FakeClock()
        self.recorder = Recorder()
        self.upstream = upstream
        self.tokens = FakeTokens()
        self.gateway = Gateway(
            snapshots=Fixed(build_snapshot(catalog, KINDS)),
            adapters=ADAPTERS,
            upstream=upstream,
            tokens=self.tokens,
            limit=all_of(RateLimit(FakeLimiter(lambda: round(self.clock.monotonic() * SECOND))), *limits),
            hasher=PlainHasher(),
            journal=self.recorder,
            # Nothing flushes by itself: tests call `flush`.
            refusals=Refusals(self.recorder, call_later=lambda *_: None),
            observers=(self.recorder,),
            counter=WordCounter(),
            clock=self.clock,
            options=options or Options(),
            sleep=self.sleep if time is None else time.sleep,
            selector=selector or Selector(),
        )

    async def sleep(self, seconds: float) -> None:
        """Let the clock go on; others run meanwhile."""
        self.slept.append(seconds)
        self.clock.now += seconds
        await asyncio.sleep(0)

    def call(self, *, api_key: str | None = KEY, admitted: bool = True, dialect: Dialect = CHAT) -> Call:
        return Call(
            dialect=dialect,
            request_id="0190-test",
            client_request_id=None,
            path="/v1/chat/completions",
            method="POST",
            api_key=None if api_key is None else PresentedKey(api_key),
            client_ip="127.0.0.1",
            started=self.clock.now,
            created_at=self.clock.unix_us(),
            admitted=admitted,
            forwarded={"x-request-id": "0190-test"},
        )
