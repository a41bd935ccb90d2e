"""The API format of one route: how it reads keys and requests, and encodes replies, streams and errors.

Inside the gateway, requests and replies have one *canonical* form: OpenAI's, for the request's endpoint. A dialect
translates at the edge. OpenAI's own dialects pass bytes through unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.errors import BadRequest, GatewayError
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.ports.catalog import KeyHasher
from llm_gateway.providers.base import StreamTail

Headers = tuple[tuple[bytes, bytes], ...]


class PresentedKey:
    """An API key as the client sent it. The hash is computed once, even when many requests share the object."""

    __slots__ = ("_digest", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._digest: bytes | None = None

    def digest(self, hasher: KeyHasher) -> bytes:
        """Return the hash that the catalog stores; `hasher` must be the same in every call of a process."""
        digest = self._digest
        if digest is None:
            digest = self._digest = hasher.hash(self._text)
        return digest


class AmbiguousKey(PresentedKey):
    """Several API keys, of which none can be preferred."""

    __slots__ = ()

    def digest(self, hasher: KeyHasher) -> bytes:
        """Raise BadRequest, so that the request ends where its key is first needed."""
        del hasher
        raise BadRequest(self._text, code="ambiguous_api_key")


class RefusedKey(PresentedKey):
    """A key that is refused for a reason of its surface, or the lack of one; `error` makes the error."""

    __slots__ = ("_error",)

    def __init__(self, error: Callable[[], GatewayError]) -> None:
        super().__init__("")
        self._error = error

    def digest(self, hasher: KeyHasher) -> bytes:
        """Raise the error, so that the request ends where its key is first needed."""
        del hasher
        raise self._error()


class VouchedCaller(PresentedKey):
    """A caller whom a surface has authenticated by itself: its requests belong to the surface's own account."""

    __slots__ = ("_account",)

    def __init__(self, account: bytes) -> None:
        """`account` is the `key_hash` of one of `SURFACE_ACCOUNTS`."""
        super().__init__("")
        self._account = account

    def digest(self, hasher: KeyHasher) -> bytes:
        """Return the account's `key_hash`. Subclasses raise GatewayError for a caller who is refused by now."""
        del hasher
        return self._account


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """On whose behalf a client sends a request, according to the request itself; None where it does not say.

    With `is_trusted` the names come from a caller that vouches for them, so that limits of an agent or a user apply.
    """

    tenant: str | None = None
    project: str | None = None
    agent: str | None = None
    user: str | None = None
    channel: str | None = None
    soeid: str | None = None
    tags: dict[str, str] | None = None
    is_trusted: bool = False


NO_ATTRIBUTION: Final = Attribution()


class ErrorResponse(NamedTuple):
    """An error as the client receives it. `headers` lack content-length, x-request-id and retry-after."""

    status: int
    headers: Headers
    body: bytes


class ErrorFormat(Protocol):
    """Encodes errors for clients."""

    def error_response(self, error: GatewayError, request_id: str) -> ErrorResponse:
        """Return the response. Must be pure: one call is for the usage record, another for the client."""


class ReplyFacts(Protocol):
    """What is known of a reply when its last bytes are encoded, for dialects whose clients are told."""

    request_id: str
    # The request's, in Unix microseconds.
    created_at: int
    # The public model that answered, which is another one after a fallback.
    model: str
    # None = a cached reply.
    deployment: Deployment | None
    usage: Usage | None

    @property
    def provider(self) -> str | None:
        """The `provider_key`; of a cached reply, that of the original one."""

    @property
    def upstream_model(self) -> str | None:
        """The provider's name of the model."""

    @property
    def is_cached(self) -> bool:
        """Whether the reply comes from the reply cache."""

    @property
    def attempts(self) -> int:
        """How many attempts there were."""

    @property
    def latency_ms(self) -> float:
        """The time since the request began."""

    @property
    def upstream_latency_ms(self) -> float | None:
        """The part of it spent waiting for the last attempt's provider; None for a cached reply."""

    @property
    def cost_nano_usd(self) -> int | None:
        """The cost of all attempts; None if it is not known."""

    @property
    def unpriced(self) -> str | None:
        """Why the cost is not known; None if it is, or if nothing is known to have been used."""


class StreamEncoder(Protocol):
    """Translates one canonical event stream for the client."""

    def feed(self, events: bytes) -> bytes:
        """Translate complete canonical events, never [DONE]; return bytes for the client, possibly b""."""

    def end(self, facts: ReplyFacts) -> bytes:
        """Return the bytes that end a complete stream."""

    def fail(self, error: GatewayError, tail: StreamTail, facts: ReplyFacts) -> bytes:
        """Return the bytes that end a failed stream; clients must be able to tell it from a complete one.

        `tail` is the state of the canonical stream.
        """


class CostHeaders(msgspec.Struct, frozen=True, gc=False):
    """A client's headers about costs, in lower case; None = not sent. `cost_headers` says what they mean."""

    # x-llm-gateway-cost
    in_usage: str | None = None
    # x-llm-gateway-dry-run
    dry_run: str | None = None
    # x-llm-gateway-max-cost-usd
    max_cost_usd: str | None = None
    # Tokens that the client of a dry run expects in the completion; no header says so.
    expected_completion_tokens: int | None = None
    # Whether the completion may be limited to what `max_cost_usd` pays for.
    may_shorten: bool = False


class IncomingCall(Protocol):
    """What a dialect may use of a call whose body it reads.

    It may set `dialect`, `client_request_id`, `cache_directive` and `cost_headers` to what the body asks for.
    """

    request_id: str
    # Of the client, as it will be in the usage row; None without one.
    client_request_id: str | None
    api_key: PresentedKey | None
    # Unix microseconds.
    created_at: int
    cache_directive: str | None
    cost_headers: CostHeaders | None
    # With lower-case names.
    headers: Sequence[tuple[bytes, bytes]]
    dialect: Dialect
    # What `Dialect.attribute` returned.
    attribution: Attribution


class Dialect(ErrorFormat, Protocol):
    """The format of one route of a surface. Every method is synchronous and does no I/O."""

    # Headers of a whole reply and of a stream: the content type, and any others of the dialect.
    reply_headers: Headers
    stream_headers: Headers
    # Translates the canonical body of a whole reply; None = it passes through unchanged. Must not block.
    encode_reply: Callable[[ModelRequest, bytes, ReplyFacts], bytes] | None
    # Encodes the answer to a dry run, whose fields `cost_headers.shown` makes; None = as JSON, unchanged.
    encode_estimate: Callable[[ModelRequest, dict[str, object]], bytes] | None = None
    # Takes the estimate of a request that has `cost_headers` before it is sent, with the fields of `encode_estimate`;
    # None = no estimate is made.
    take_estimate: Callable[[dict[str, object]], None] | None = None
    # The client's name for the most that a request may cost.
    max_cost_name: str = "x-llm-gateway-max-cost-usd"
    # Ends a complete stream that passes through unchanged.
    stream_end: bytes

    def identify(self, headers: Mapping[bytes, bytes]) -> PresentedKey | None:
        """Return the key of the request, None without one. Names in `headers` are in lower case."""

    def attribute(self, headers: Mapping[bytes, bytes]) -> Attribution:
        """Return on whose behalf the request is sent, as far as its headers say; never raises.

        `read` returns it with what the body says, and refuses what is malformed.
        """
        del headers
        return NO_ATTRIBUTION

    def read(self, body: bytes, call: IncomingCall) -> tuple[ModelRequest, Attribution]:
        """Parse a request's body into its canonical form; raise BadRequest that names the field.

        The client was authenticated before. May replace `call.dialect`, which encodes the reply.
        """

    def open_stream(self, request: ModelRequest, deployment: Deployment | None) -> StreamEncoder | None:
        """Return an encoder for the stream that answers `request`; None = it passes through unchanged.

        `deployment` sends the stream; None = it is a cached one.
        """

    def stream_error(self, error: GatewayError, tail: StreamTail) -> bytes:
        """Return the bytes that end a failed stream that passed through unchanged; `tail` is its state."""
