"""Defers the import of an adapter's modules until its first use: most gateways never need them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

from llm_gateway.core.config.deployments import Deployment, EnabledProvider
from llm_gateway.core.config.providers import Kind
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.base import Adapter, Completion, ReplyStream, UpstreamErrorBody, UpstreamRequest


class OnFirstUse:
    """An adapter that is imported and created on first use, which takes some milliseconds once."""

    def __init__(self, kind: Kind, make: Callable[[Kind], Adapter]) -> None:
        self.kind = kind
        self._make = make

    @cached_property
    def adapter(self) -> Adapter:
        return self._make(self.kind)

    def encode(
        self, request: ModelRequest, deployment: Deployment, extra_headers: Mapping[str, str]
    ) -> UpstreamRequest:
        return self.adapter.encode(request, deployment, extra_headers)

    def decode(self, body: bytes, request: ModelRequest) -> Completion:
        return self.adapter.decode(body, request)

    def stream(self, request: ModelRequest, *, event_limit: int) -> ReplyStream:
        """Return the adapter's own reader, so that chunks bypass this class."""
        return self.adapter.stream(request, event_limit=event_limit)

    def decode_error(self, body: bytes) -> UpstreamErrorBody:
        return self.adapter.decode_error(body)

    def models_request(self, provider: EnabledProvider) -> UpstreamRequest:
        return self.adapter.models_request(provider)

    def decode_models(self, body: bytes) -> list[str]:
        return self.adapter.decode_models(body)
