"""The contract of an adapter: how requests to one provider kind are written, and how its replies are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal, Protocol, cast

import msgspec

from llm_gateway.core.config.deployments import Deployment, EnabledProvider
from llm_gateway.core.config.providers import Kind
from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.core.model_request import ModelRequest


class UpstreamRequest(msgspec.Struct, gc=False):
    """One HTTP request to a provider, ready to send. `headers` hold the secret: never log them."""

    url: str
    headers: dict[str, str]
    body: bytes = b""
    method: str = "POST"
    # Fields of the client's request that this kind does not support and that were left out; reported to the client.
    ignored_fields: tuple[str, ...] = ()
    # Seconds to connect; None = the transport's own limit.
    connect_timeout: float | None = None

    def __repr__(self) -> str:
        """Hide URL, headers and body: a traceback may print this."""
        return f"UpstreamRequest(method={self.method!r}, ...)"


# - `context_length`, `content_policy`: the context is too long for this model, or this provider's policy forbids the
#   content; another model may accept the request.
# - `own_secret`: the provider rejected the gateway's own credentials.
# - `account`: it refuses the gateway's account: no credit, no quota left, or no permission.
# - `unserved`: it has no such model, or no such endpoint.
About = Literal["context_length", "content_policy", "own_secret", "account", "unserved"]


class UpstreamErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a provider's error body; None where a field is missing."""

    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None
    # What the provider's own codes say, whatever the status; None if they say nothing of it.
    about: About | None = None
    # Seconds to wait, from providers that state them in the body instead of a header.
    retry_after: float | None = None


class Completion(msgspec.Struct, frozen=True, gc=False):
    """A unary reply: the bytes for the client, and the usage read from the provider's reply."""

    body: bytes
    usage: Usage | StatedUsage | None
    # Set when a 2xx reply reports a failure: `body` must not reach the client.
    refusal: UpstreamErrorBody | None = None


class StreamSample(msgspec.Struct, frozen=True):
    """The first blocks that a stream relayed, `sampled_bytes` long; `total_bytes` is the size of the whole stream."""

    blocks: tuple[bytes, ...]
    sampled_bytes: int
    total_bytes: int


class StreamTail(msgspec.Struct, frozen=True, kw_only=True):
    """What an error event needs from the events before it, in a dialect that numbers its events."""

    # The error event's own number.
    sequence_number: int = 0
    # The JSON of the provider's own failure event, which was not relayed.
    failed_event: bytes | None = None
    # The JSON of the event that began the answer, where a dialect has one.
    begun_event: bytes | None = None


# For dialects whose events have no numbers.
NO_TAIL: Final = StreamTail()


class ReplyStream(Protocol):
    """Reads one streamed reply as bytes arrive: returns the canonical events in it and records what they report."""

    # The stream is lines of JSON instead of server-sent events: a JSON object at its start is no whole reply.
    json_lines: bool
    # The first content has arrived (see Commit in the glossary).
    content_seen: bool
    # The provider sent its end marker, such as [DONE].
    done: bool
    # Every choice has its finish reason.
    finished: bool
    # The provider's own error event, if any: nothing more is relayed after it.
    refusal: UpstreamErrorBody | None
    # As the provider stated it so far; None if it did not.
    usage: Usage | StatedUsage | None

    @property
    def tail(self) -> StreamTail:
        """What an error event that follows needs."""

    def feed(self, data: bytes) -> bytes:
        """Read the next bytes; return the bytes for the client: whole events, never [DONE].

        Raise BadReply if the stream is unreadable before the first content.
        """

    def end(self) -> bytes:
        """Handle the provider's clean end of stream; return a last event that lacked only its blank line."""

    def whole(self, body: bytes) -> bytes:
        """Read a JSON reply to a streamed request; return it as events, without [DONE].

        Sets `done` or `refusal`. Raise BadReply if the body is not a complete reply.
        """

    def sample(self) -> StreamSample:
        """Return the sample from which tokens are counted."""


class QuietReader(Protocol):
    """What a `ReplyStream` may offer as well: plain events may bypass its `feed`."""

    def plain_event_end(self) -> bytes:
        """Return what only plain content ends with, if the next bytes begin an event; b"" if nothing does.

        An event that begins with `data:`, ends so, and has no other blank line, would be returned unchanged by
        `feed`, and would change nothing but the sample.
        """

    def note_plain(self, events: Iterator[bytes], size: int) -> None:
        """Take events of `size` bytes together, which bypassed `feed`, into the sample."""


class BodyEncoder(Protocol):
    """What an `Adapter` may offer as well: a request's body alone.

    The class itself has to define it, a base class is not enough: it says that the URL and the headers of a request
    depend on the endpoint, the deployment, `stream` and the extra headers alone, and need not be made each time.
    """

    def encode_body(self, request: ModelRequest, deployment: Deployment) -> tuple[bytes, tuple[str, ...]]:
        """Return the body that `encode` makes, and the fields that it leaves out; raise what it raises."""


def body_encoder(adapter: Adapter) -> BodyEncoder | None:
    """Return the adapter if it offers a `BodyEncoder`."""
    return cast("BodyEncoder", adapter) if "encode_body" in vars(type(adapter)) else None


class Adapter(Protocol):
    """Translates for one provider kind. Every method is synchronous and does no I/O."""

    kind: Kind

    def encode(
        self, request: ModelRequest, deployment: Deployment, extra_headers: Mapping[str, str]
    ) -> UpstreamRequest:
        """Return the upstream request for a deployment, with `extra_headers` added.

        Raise BadRequest with the code `unsupported_by_provider` for what this kind does not support.
        """

    def decode(self, body: bytes, request: ModelRequest) -> Completion:
        """Read a unary reply; raise BadReply if it is unreadable."""

    def stream(self, request: ModelRequest, *, event_limit: int) -> ReplyStream:
        """Return the reader of a streamed reply; one event may have `event_limit` bytes."""

    def decode_error(self, body: bytes) -> UpstreamErrorBody:
        """Read an error body; never raises."""

    def models_request(self, provider: EnabledProvider) -> UpstreamRequest:
        """Return the request that lists a provider's models; health probes use it, too."""

    def decode_models(self, body: bytes) -> list[str]:
        """Return the model names of a model list; raise BadReply if it is unreadable."""
