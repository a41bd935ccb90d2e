"""Stands in for an adapter whose modules most gateways never need, until the first one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

from llm_gateway.core.config.providers import Kind
from llm_gateway.core.config.snapshot import Deployment, EnabledProvider
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.base import Adapter, Completion, ReplyStream, UpstreamErrorBody, UpstreamRequest


class OnFirstUse:
    """An adapter that is made, its modules imported, when it is first used: some milliseconds, once."""

    def __init__(self, kind: Kind, make: Callable[[Kind], Adapter]) -> None:
        """Speak for `kind` by what `make` returns."""
        self.kind = kind
        self._make = make

    @cached_property
    def adapter(self) -> Adapter:
        """Return the one that does the work."""
        return self._make(self.kind)

    def encode(
        self, request: ModelRequest, deployment: Deployment, extra_headers: Mapping[str, str]
    ) -> UpstreamRequest:
        """Return the request for a deployment."""
        return self.adapter.encode(request, deployment, extra_headers)

    def decode(self, body: bytes, request: ModelRequest) -> Completion:
        """Read the whole unary reply to a request."""
        return self.adapter.decode(body, request)

    def stream(self, request: ModelRequest, *, event_limit: int) -> ReplyStream:
        """Return the reader of a streamed reply: the adapter's own, so that chunks come straight to it."""
        return self.adapter.stream(request, event_limit=event_limit)

    def decode_error(self, body: bytes) -> UpstreamErrorBody:
        """Read an error body."""
        return self.adapter.decode_error(body)

    def models_request(self, provider: EnabledProvider) -> UpstreamRequest:
        """Return the request that lists a provider's models."""
        return self.adapter.models_request(provider)

    def decode_models(self, body: bytes) -> list[str]:
        """Return the model names of a list."""
        return self.adapter.decode_models(body)
