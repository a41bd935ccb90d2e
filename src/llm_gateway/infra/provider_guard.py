"""Keeps the faults of a provider plug-in to its own requests: no other provider suffers, and no usage row is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, cast

import msgspec
from loguru import logger

from llm_gateway.core.config.deployments import Deployment, EnabledProvider
from llm_gateway.core.ledger.usage import StatedUsage, Usage, UsageDetails
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.base import (
    Adapter,
    Completion,
    ReplyStream,
    StreamSample,
    StreamTail,
    UpstreamErrorBody,
    UpstreamRequest,
)
from llm_gateway.wire.errors import BadReply

# More than any request uses, and exact in every language.
_MOST: Final = 2**53 - 1
_NO_DETAILS: Final = UsageDetails()
_FAILED_IN: Final = "The plug-in of the provider kind {!r} failed in `{}`."
_FAILED: Final = "the plug-in of this provider kind failed; the gateway's log says how"


class GuardedAdapter:
    """The adapter of a plug-in. What it raises in requests is for the flow; but it cannot end the process."""

    def __init__(self, adapter: Adapter) -> None:
        self.kind = adapter.kind
        self._adapter = adapter

    def encode(
        self, request: ModelRequest, deployment: Deployment, extra_headers: Mapping[str, str]
    ) -> UpstreamRequest:
        with _contained():
            return self._adapter.encode(request, deployment, extra_headers)

    def decode(self, body: bytes, request: ModelRequest) -> Completion:
        """Return the completion; a usage that is none is left out, so that the gateway counts."""
        with _contained():
            completion = self._adapter.decode(body, request)
        if completion.usage is None or _is_sound(completion.usage):
            return completion
        return msgspec.structs.replace(completion, usage=None)

    def stream(self, request: ModelRequest, *, event_limit: int) -> ReplyStream:
        with _contained():
            reader = self._adapter.stream(request, event_limit=event_limit)
        # The protocol's attributes are for those who implement it to set; nobody else does.
        return cast("ReplyStream", _GuardedStream(reader))

    def decode_error(self, body: bytes) -> UpstreamErrorBody:
        """Return what the adapter reads in the body; nothing if it fails, because the status says enough."""
        try:
            with _contained():
                return self._adapter.decode_error(body)
        except Exception:  # noqa: BLE001 - code of others; a log line is all that can be done
            logger.exception(_FAILED_IN, self.kind.name, "decode_error")
            return UpstreamErrorBody()

    def models_request(self, provider: EnabledProvider) -> UpstreamRequest:
        """Return the adapter's request; raise BadReply if it fails: probes ask many providers at once."""
        try:
            with _contained():
                return self._adapter.models_request(provider)
        except Exception:  # noqa: BLE001 - as in `decode_error`
            logger.exception(_FAILED_IN, self.kind.name, "models_request")
            raise BadReply(_FAILED) from None

    def decode_models(self, body: bytes) -> list[str]:
        """Return the adapter's list; raise BadReply if it fails, or if that is no list of names."""
        try:
            with _contained():
                return msgspec.convert(self._adapter.decode_models(body), list[str])
        except BadReply:
            raise
        except Exception:  # noqa: BLE001 - as in `decode_error`
            logger.exception(_FAILED_IN, self.kind.name, "decode_models")
            raise BadReply(_FAILED) from None


class _GuardedStream:
    """The reader of one streamed reply."""

    def __init__(self, reader: ReplyStream) -> None:
        self._reader = reader

    @property
    def json_lines(self) -> bool:
        return self._reader.json_lines

    @property
    def content_seen(self) -> bool:
        return self._reader.content_seen

    @property
    def done(self) -> bool:
        return self._reader.done

    @property
    def finished(self) -> bool:
        return self._reader.finished

    @property
    def refusal(self) -> UpstreamErrorBody | None:
        return self._reader.refusal

    @property
    def usage(self) -> Usage | StatedUsage | None:
        usage = self._reader.usage
        return usage if usage is None or _is_sound(usage) else None

    @property
    def tail(self) -> StreamTail:
        return self._reader.tail

    def feed(self, data: bytes) -> bytes:
        with _contained():
            return self._reader.feed(data)

    def end(self) -> bytes:
        with _contained():
            return self._reader.end()

    def whole(self, body: bytes) -> bytes:
        with _contained():
            return self._reader.whole(body)

    def sample(self) -> StreamSample:
        with _contained():
            return self._reader.sample()


@contextmanager
def _contained() -> Iterator[None]:
    """Turn SystemExit, which would end a worker with all its requests, into an error of the one request."""
    try:
        yield
    except SystemExit as error:
        message = f"a provider plug-in tried to end the process ({error!r})"
        raise RuntimeError(message) from error


def _is_sound(usage: Usage | StatedUsage) -> bool:
    """Tell whether a usage can be billed: structs do not check their fields, and a row must not be lost by them."""
    if type(usage) not in {Usage, StatedUsage}:
        return False
    try:
        read = msgspec.convert(msgspec.to_builtins(usage), type(usage))
    except (msgspec.ValidationError, TypeError, ValueError, OverflowError):
        return False
    details = read.details or _NO_DETAILS
    amounts = (
        read.prompt_tokens,
        read.completion_tokens,
        read.total_tokens,
        read.cached_tokens,
        read.reasoning_tokens,
        read.cache_write_tokens,
        details.cost_nano_usd,
        *details.quantities.values(),
    )
    return all(amount is None or 0 <= amount <= _MOST for amount in amounts)
