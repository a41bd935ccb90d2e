"""Translates between OpenAI's API and Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llm_gateway.core.config.deployments import Deployment, EnabledProvider
from llm_gateway.core.config.providers import Kind
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.secret import Secret
from llm_gateway.providers.anthropic.decoding import completion_of
from llm_gateway.providers.anthropic.encoding import encode_request
from llm_gateway.providers.anthropic.errors import error_body_from
from llm_gateway.providers.anthropic.kind import ANTHROPIC
from llm_gateway.providers.anthropic.models import NEWEST_VERSION
from llm_gateway.providers.anthropic.streaming import AnthropicStream
from llm_gateway.providers.base import Completion, ReplyStream, UpstreamErrorBody, UpstreamRequest
from llm_gateway.providers.translating.assembling import whole_from_stream
from llm_gateway.providers.translating.stream import is_event_stream
from llm_gateway.wire.anthropic_messages.messages import UNREADABLE, decode_models
from llm_gateway.wire.errors import BadReply

_USER_AGENT = "llm-gateway"
# The largest page that the API allows.
_MODELS = "models?limit=1000"
_encode = msgspec.json.Encoder().encode


class AnthropicAdapter:
    """Adapter for Anthropic and for other servers with the Messages API."""

    def __init__(self, kind: Kind = ANTHROPIC) -> None:
        self.kind = kind

    def encode(
        self, request: ModelRequest, deployment: Deployment, extra_headers: Mapping[str, str]
    ) -> UpstreamRequest:
        """Return a `POST /messages` request; the prompt of a legacy completion becomes one user turn."""
        encoded = encode_request(request, deployment.upstream_model, deployment.api_version)
        headers = _headers(deployment.secret, encoded.version, is_token=deployment.oauth2 is not None)
        headers["content-type"] = "application/json"
        headers["accept"] = "text/event-stream" if request.stream else "application/json"
        headers.update(extra_headers)
        return UpstreamRequest(
            url=f"{deployment.base_url}/messages",
            headers=headers,
            body=_encode(encoded.body),
            ignored_fields=encoded.ignored_fields,
        )

    def decode(self, body: bytes, request: ModelRequest) -> Completion:
        """Translate a unary reply, or a stream that was sent in its place; raise BadReply if it holds no answer."""
        if is_event_stream(body):
            return whole_from_stream(self.stream(request, event_limit=len(body)), body, request)
        return completion_of(body, request)

    def stream(self, request: ModelRequest, *, event_limit: int) -> ReplyStream:
        return AnthropicStream(request, event_limit=event_limit)

    def decode_error(self, body: bytes) -> UpstreamErrorBody:
        """Read `{"type": "error", "error": {"type", "message"}}`."""
        return error_body_from(body)

    def models_request(self, provider: EnabledProvider) -> UpstreamRequest:
        """Return a `GET /models` request."""
        account = provider.provider
        version = account.api_version or NEWEST_VERSION
        headers = _headers(account.secret, version, is_token=account.oauth2 is not None)
        headers["accept"] = "application/json"
        return UpstreamRequest(url=f"{provider.base_url}/{_MODELS}", headers=headers, method="GET")

    def decode_models(self, body: bytes) -> list[str]:
        """Read `{"data": [{"id": ...}]}`."""
        try:
            return [model.id for model in decode_models(body).data]
        except UNREADABLE:
            message = "the provider's list of models cannot be read"
            raise BadReply(message) from None


def _headers(secret: Secret | None, version: str, *, is_token: bool) -> dict[str, str]:
    headers = {"user-agent": _USER_AGENT, "accept-encoding": "identity", "anthropic-version": version}
    if secret is not None and is_token:
        headers["authorization"] = f"Bearer {secret.reveal()}"
    elif secret is not None:
        headers["x-api-key"] = secret.reveal()
    return headers
