"""The contract of an adapter: what one provider kind must be able to say and to understand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, Protocol

import msgspec

from llm_gateway.core.config.providers import Kind
from llm_gateway.core.config.snapshot import Deployment, EnabledProvider
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.model_request import ModelRequest


class UpstreamRequest(msgspec.Struct, kw_only=True, gc=False):
    """One HTTP request to a provider, ready for the wire; `headers` hold the secret, so never log it."""

    url: str
    headers: dict[str, str]
    body: bytes = b""
    method: str = "POST"
    # Fields of the client's request that this kind has no word for and that were left out; the client is told.
    ignored_fields: tuple[str, ...] = ()
    # Seconds to connect; None = the transport's own limit.
    connect_timeout: float | None = None

    def __repr__(self) -> str:
        """Show nothing of what must not be logged: a traceback may hold this."""
        return f"UpstreamRequest(method={self.method!r}, ...)"


class UpstreamErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider's error body says; None where it says nothing."""

    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None
    # What another model may make good: a context that is too long for this one, a policy of this provider. Or
    # the gateway's own credentials with the provider, under whatever status it says so.
    about: Literal["context_length", "content_policy", "own_secret"] | None = None
    # Seconds that the body asks to wait, for providers that do not say it in a header.
    retry_after: float | None = None


class Completion(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A unary reply: the bytes for the client, and the usage read from them."""

    body: bytes
    usage: Usage | None
    # The provider says, under a 2xx, that it failed: this is no reply for the client.
    refusal: UpstreamErrorBody | None = None


class StreamSample(msgspec.Struct, frozen=True):
    """The first part of what a stream relayed; `total_bytes` counts all of it."""

    blocks: tuple[bytes, ...]
    kept_bytes: int
    total_bytes: int


class StreamTail(msgspec.Struct, frozen=True, kw_only=True):
    """What an error event needs to know of the events before it, in a dialect whose events are numbered."""

    # Of the error event itself.
    sequence_number: int = 0
    # The JSON of the provider's own event that says the reply failed; it was not relayed.
    failed_event: bytes | None = None


# For dialects whose events have no numbers.
NO_TAIL: Final = StreamTail()


class ReplyStream(Protocol):
    """Reads one streamed reply, as bytes come; returns the canonical events in it, and says what it has learnt."""

    # The first content has come (see Commit in the glossary).
    content_seen: bool
    # The provider said that this is the end ([DONE]).
    done: bool
    # Every choice has its finish reason.
    finished: bool
    # The provider's own error event, once there was one: nothing more is to be relayed.
    refusal: UpstreamErrorBody | None
    usage: Usage | None

    @property
    def tail(self) -> StreamTail:
        """Return what the events so far mean for an error event."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the provider; return bytes for the client: whole events, without any [DONE].

        Raise BadReply for a reply that makes no sense before the first content.
        """

    def end(self) -> bytes:
        """Take the provider's clean end; return what goes on of a last event without its blank line."""

    def whole(self, body: bytes) -> bytes:
        """Take JSON that answered the streamed request, in place of a stream; return its events, without any [DONE].

        Afterwards the reader is `done`, or has a `refusal`. Raise BadReply for what is no whole answer.
        """

    def kept(self) -> StreamSample:
        """Return what was relayed, for counting."""


class Adapter(Protocol):
    """Speaks one kind. Every method is synchronous and does no I/O."""

    kind: Kind

    def encode(
        self, request: ModelRequest, deployment: Deployment, extra_headers: Mapping[str, str]
    ) -> UpstreamRequest:
        """Return the request for a deployment; `extra_headers` are sent along.

        Raise BadRequest, with the code `unsupported_by_provider`, for what this kind cannot carry.
        """

    def decode(self, body: bytes, request: ModelRequest) -> Completion:
        """Read the whole unary reply to a request; raise BadReply when it is not one."""

    def stream(self, request: ModelRequest, *, event_limit: int) -> ReplyStream:
        """Return the reader of a streamed reply."""

    def decode_error(self, body: bytes) -> UpstreamErrorBody:
        """Read an error body; never raises."""

    def models_request(self, provider: EnabledProvider) -> UpstreamRequest:
        """Return the request that lists a provider's models; it serves as a probe too."""

    def decode_models(self, body: bytes) -> list[str]:
        """Return the model names of a list; raise BadReply when it is none."""
