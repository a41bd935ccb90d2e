"""OpenAI's API: requests pass through with the model renamed; replies are read and never rewritten."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from llm_gateway.core.config.deployments import Deployment, EnabledProvider
from llm_gateway.core.config.providers import Kind
from llm_gateway.core.endpoints import ENDPOINTS, EndpointName
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.secret import Secret
from llm_gateway.providers.base import Completion, ReplyStream, UpstreamErrorBody, UpstreamRequest
from llm_gateway.providers.openai.chat_stream import ChatStream
from llm_gateway.providers.openai.errors import error_body_from
from llm_gateway.providers.openai.request_rules import NO_RULES, RequestRules
from llm_gateway.providers.openai.responses import read_response
from llm_gateway.providers.openai.responses_stream import ResponsesStream
from llm_gateway.providers.openai.whole_replies import read_reply
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.stated_costs import CostReader

_USER_AGENT = "llm-gateway"
_CHAT: EndpointName = "chat/completions"
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_WITH_USAGE = msgspec.Raw(b'{"include_usage":true}')
_TAKES_STREAM_OPTIONS = frozenset(
    name for name, endpoint in ENDPOINTS.items() if endpoint.takes_stream_options
)


class _Model(msgspec.Struct, gc=False):
    id: str


class _Models(msgspec.Struct, gc=False):
    # Ollama sends null when it has no models.
    data: list[_Model] | None


# Together sends the bare list.
_decode_models = msgspec.json.Decoder(_Models | list[_Model]).decode
_encode = msgspec.json.Encoder().encode


@lru_cache(maxsize=4096)
def _as_json(name: str) -> msgspec.Raw:
    return msgspec.Raw(_encode(name))


class OpenAIAdapter:
    """The adapter of OpenAI and of compatible providers."""

    def __init__(
        self,
        kind: Kind,
        *,
        knows_max_completion_tokens: bool = True,
        rules: RequestRules = NO_RULES,
        read_cost: CostReader | None = None,
    ) -> None:
        """Pass `knows_max_completion_tokens=False` for servers that reject or ignore it: they get `max_tokens`.

        `rules` are those of a server that refuses some of a chat's fields. `read_cost` reads what a provider states
        that a request cost; without it, no field is taken for money.
        """
        self.kind = kind
        self._knows_max_completion_tokens = knows_max_completion_tokens
        self._rules = rules
        self._read_cost = read_cost
        # Read by every request.
        self._ruled_urls = rules.base_urls

    def encode(
        self, request: ModelRequest, deployment: Deployment, extra_headers: Mapping[str, str]
    ) -> UpstreamRequest:
        """Replace `model`, ask for a stream's usage, and leave every other value byte for byte."""
        body, ignored_fields = self.encode_body(request, deployment)
        headers = self.headers(deployment.secret, is_token=deployment.oauth2 is not None)
        headers["content-type"] = "application/json"
        headers["accept"] = "text/event-stream" if request.stream else "application/json"
        headers.update(extra_headers)
        return UpstreamRequest(
            self.url_for(request.endpoint, deployment), headers, body, "POST", ignored_fields
        )

    def encode_body(self, request: ModelRequest, deployment: Deployment) -> tuple[bytes, tuple[str, ...]]:
        fields = {**request.fields, "model": _as_json(deployment.upstream_model)}
        ignored_fields: tuple[str, ...] = ()
        if request.stream or "stream_options" in fields:
            ignored_fields = _set_stream_options(fields, request, deployment)
        if not self._knows_max_completion_tokens and "max_completion_tokens" in fields:
            _use_max_tokens(fields)
        if deployment.base_url in self._ruled_urls and request.endpoint == _CHAT:
            return self._rules.encode(fields, ignored_fields)
        return _encode(fields), ignored_fields

    def url_for(self, endpoint: EndpointName, deployment: Deployment) -> str:
        return self.url(deployment.base_url, endpoint)

    def url(self, base_url: str, path: str) -> str:
        return f"{base_url}/{path}"

    def headers(self, secret: Secret | None, *, is_token: bool) -> dict[str, str]:
        """Return the headers of every request; `is_token`: the secret is an OAuth2 access token."""
        del is_token
        headers = {"user-agent": _USER_AGENT, "accept-encoding": "identity"}
        if secret is not None:
            headers["authorization"] = f"Bearer {secret.reveal()}"
        return headers

    def decode(self, body: bytes, request: ModelRequest) -> Completion:
        """Check that the reply is an answer and read its usage; the bytes of a usual answer stay as they are."""
        if request.endpoint == "responses":
            return read_response(body, self._read_cost, request.fields)
        return read_reply(body, request, self._read_cost)

    def stream(self, request: ModelRequest, *, event_limit: int) -> ReplyStream:
        """Return a reader that drops the usage chunk if the client did not ask for it."""
        if request.endpoint == "responses":
            return ResponsesStream(event_limit=event_limit, read_cost=self._read_cost, asked=request.fields)
        return ChatStream(request, event_limit=event_limit, read_cost=self._read_cost)

    def decode_error(self, body: bytes) -> UpstreamErrorBody:
        """Read `{"error": {...}}`, and the looser shapes that OpenAI-like servers send."""
        try:
            value = msgspec.json.decode(body)
        except _UNREADABLE:
            return UpstreamErrorBody()
        return error_body_from(value)

    def models_request(self, provider: EnabledProvider) -> UpstreamRequest:
        headers = self.headers(provider.provider.secret, is_token=provider.provider.oauth2 is not None)
        headers["accept"] = "application/json"
        return UpstreamRequest(url=self.url(provider.base_url, "models"), headers=headers, method="GET")

    def decode_models(self, body: bytes) -> list[str]:
        """Read `{"data": [{"id": ...}]}`, or the list alone."""
        try:
            models = _decode_models(body)
            found = models if isinstance(models, list) else models.data or []
            return [model.id for model in found]
        except _UNREADABLE:
            message = "the provider's list of models cannot be read"
            raise BadReply(message) from None


def _with_usage(options: msgspec.Raw) -> msgspec.Raw:
    """Return `stream_options` with include_usage on, keeping the client's other options."""
    given = msgspec.json.decode(options)
    if not isinstance(given, dict):
        return _WITH_USAGE
    return msgspec.Raw(_encode({**given, "include_usage": True}))


def _set_stream_options(
    fields: dict[str, msgspec.Raw], request: ModelRequest, deployment: Deployment
) -> tuple[str, ...]:
    """Request usage in streams if the server supports it; else drop `stream_options` and return its name."""
    if request.endpoint not in _TAKES_STREAM_OPTIONS:
        # Streams of the Responses API always report usage.
        return ()
    if not deployment.stream_usage:
        options = fields.pop("stream_options", None)
        return () if options is None or bytes(options) == b"null" else ("stream_options",)
    if request.stream and not request.wants_usage:
        options = fields.get("stream_options")
        fields["stream_options"] = _WITH_USAGE if options is None else _with_usage(options)
    return ()


def _use_max_tokens(fields: dict[str, msgspec.Raw]) -> None:
    """Rename `max_completion_tokens` to `max_tokens`; it wins if both were given."""
    limit = fields.pop("max_completion_tokens")
    if bytes(limit) != b"null":
        fields["max_tokens"] = limit
