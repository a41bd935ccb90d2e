"""Ports for sending requests to providers and for obtaining the access tokens they require."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, Protocol

from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.core.secret import Secret
from llm_gateway.providers.base import UpstreamRequest


class TransportError(Exception):
    """A failure of the transport; the message contains no URL, header or secret.

    `kind` is one of:

    - `connect`: no connection (refused, DNS, TLS); nothing was sent.
    - `proxy`: the operator's proxy cannot be reached, or refuses; the provider has no part in it.
    - `cut`: the connection closed before the end of the reply.
    - `timeout`: the time limit passed.
    - `protocol`: the reply is not valid HTTP, or exceeds a size limit.
    """

    def __init__(self, kind: Literal["connect", "proxy", "cut", "timeout", "protocol"], message: str) -> None:
        super().__init__(message)
        self.kind = kind


class SilentProvider(TransportError):
    """Nothing of a reply's body has arrived within the time limit; `kind` is `timeout`."""

    def __init__(self) -> None:
        super().__init__("timeout", "the provider stopped sending")


class OversizedReply(TransportError):
    """The body of a reply is over the limit; `kind` is `protocol`."""

    def __init__(self) -> None:
        super().__init__("protocol", "the provider's reply is too large")


class ChunkSink(Protocol):
    """The client's end of a stream whose chunks are framed as the provider's usually are."""

    # Another chunk may be written: the client is neither slow nor gone.
    open: bool
    # The client has left, and its transport refuses every write.
    gone: bool

    def write(self, chunk: bytes) -> object:
        """Write a chunk with its frame."""

    def __call__(self, events: bytes) -> bool:
        """Frame and write events; return whether more may follow."""


class QuietContent(Protocol):
    """The plain content of a stream, which a transport may pass to the client unread."""

    @property
    def sink(self) -> ChunkSink:
        """Where it goes."""

    def event_end(self) -> bytes:
        """Return what a plain event ends with, if the next event of the stream may be one; b"" if not."""

    def passed_on(self, events: Iterator[bytes], size: int) -> None:
        """Count events of `size` bytes together, which were passed to the client unread."""


class UpstreamReply(Protocol):
    """An open reply: the head has arrived, the body may still be arriving."""

    status: int

    def header(self, name: str) -> str | None:
        """Return a header's value by lower-case name."""

    async def read(self, timeout: float) -> bytes:
        """Return the next bytes, b"" at the clean end; raise TransportError `cut` or `timeout`.

        `timeout`, in seconds, limits the wait for these bytes only. A read that times out or is cancelled
        loses no data: the next read continues at the same position.
        """

    async def read_all(self, limit: int, timeout: float) -> bytes:
        """Return the whole body within `timeout` seconds; raise OversizedReply above `limit` bytes."""

    async def relay(
        self, take: Callable[[bytes], bool], patience: float, quiet: QuietContent | None = None
    ) -> None:
        """Pass each piece of the body to `take` as it arrives, until `take` returns False or raises.

        The connection calls `take` directly, so that a piece wakes no task. Also returns when the body has
        ended or failed: the next `read` tells which. Raises TransportError `timeout` after `patience` seconds
        without a piece. A transport that does not support this returns at once.

        Pieces that are plain events, as `quiet` describes them, may be passed to its sink instead.
        """

    def finish(self) -> None:
        """Stop reading: reuse the connection if the body ends shortly, else drop it. Does not block."""

    def close(self) -> None:
        """Return the connection to the pool if the body was read to its end, else drop it. Does not block."""


class ReplyListener(Protocol):
    """Waits for the reply to one request that was sent without a task; called once, by the event loop."""

    def on_event(self, on_time: bool, /) -> None:
        """Take note that something has arrived or failed, or, with False, that the time is over. Must not raise."""


class ListenedReply(UpstreamReply, Protocol):
    """An open reply for which no task has to wait: it calls a `ReplyListener`."""

    def read_nowait(self) -> bytes:
        """Return the bytes of the body that have arrived, b"" if there are none."""

    def listen(self, listener: ReplyListener, timeout: float) -> bool:
        """Call the listener at the next event, or after `timeout` seconds.

        Returns False, with nothing done, if the body has ended or failed: `read` tells which.
        """

    def begin_relay(
        self,
        take: Callable[[bytes], bool],
        patience: float,
        quiet: QuietContent | None,
        listener: ReplyListener,
    ) -> bool:
        """Do as `relay` does, and call the listener where that returns, or raises because the time is over.

        Returns False if that is so already; then the listener is not called.
        """

    def end_relay(self) -> None:
        """Stop relaying. Call it once if `begin_relay` returned True: when the listener is called, or before."""


class PendingReply(Protocol):
    """A request that was sent, and its reply. One of `release`, `abandon` and `reply` is called, once.

    The reply that `streamed` returns takes the place of `release` and `reply`.
    """

    def whole(self, limit: int) -> bytes | None:
        """Return the body of a reply with the status 200, None if it has not arrived or is over `limit`."""

    def streamed(self) -> ListenedReply | None:
        """Return a reply with the status 200 and no content coding, whose body may still be arriving, or None."""

    def release(self) -> None:
        """Return the connection to the pool after `whole`."""

    def abandon(self) -> None:
        """Drop the connection; the listener is not called."""

    async def reply(self, *, on_time: bool) -> UpstreamReply:
        """Wait for the head of the reply, as `Upstream.send` does; `on_time` is what the listener was told."""


class PreparedRequest(Protocol):
    """Requests that differ in their `x-request-id` and their body alone, encoded but for these."""

    def send(
        self, request_id: str, body: bytes, timeout: float, listener: ReplyListener
    ) -> PendingReply | None:
        """Send a request at once; None, with nothing done, if it has to wait: there is no idle connection."""


class Upstream(Protocol):
    """Sends requests to providers."""

    def prepare(self, request: UpstreamRequest, /) -> PreparedRequest | None:
        """Prepare requests that differ from `request` in their id and body alone; None if they have to be sent."""
        del request
        return None

    async def send(self, request: UpstreamRequest, timeout: float) -> UpstreamReply:
        """Send a request and return once the head of the reply has arrived; raise TransportError.

        `timeout` is in seconds. Cancelling the caller drops the connection at once.
        """

    async def close(self) -> None:
        """Close all connections."""


class AccessTokens(Protocol):
    """Obtains access tokens (OAuth2 client credentials), caches them, and renews them before they expire."""

    async def token(
        self, provider_id: int, grant: ClientCredentials, secret: Secret, timeout: float
    ) -> Secret:
        """Return a token that is still valid for some time; raise TransportError."""

    def secrets(self, provider_id: int) -> tuple[Secret, ...]:
        """Return the client secrets and tokens of a provider, also former ones, so that none of them is shown."""

    def forget(self, provider_id: int, token: Secret) -> None:
        """Discard a token that the provider rejected; the next call obtains a new one."""
