"""OpenAI's API: requests pass through with the model renamed; replies are read and never rewritten."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from llm_gateway.core.config.providers import Kind
from llm_gateway.core.config.snapshot import Deployment, EnabledProvider
from llm_gateway.core.endpoints import ENDPOINTS, EndpointName
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.secret import Secret
from llm_gateway.providers.base import Completion, ReplyStream, UpstreamErrorBody, UpstreamRequest
from llm_gateway.providers.openai.chat_stream import ChatStream
from llm_gateway.providers.openai.errors import error_body_from
from llm_gateway.providers.openai.responses import read_response
from llm_gateway.providers.openai.responses_stream import ResponsesStream
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.openai_chat.usage import WireUsage, usage_from_wire

_USER_AGENT = "llm-gateway"
# Values of `error` that mean no error. (OpenRouter, for one, reports failures with status 200.)
_NO_ERROR = frozenset({b"null", b'""', b"{}", b"[]", b"false"})
_WITH_USAGE = msgspec.Raw(b'{"include_usage":true}')
_TAKES_STREAM_OPTIONS = frozenset(
    name for name, endpoint in ENDPOINTS.items() if endpoint.takes_stream_options
)


class _Reply(msgspec.Struct, gc=False):
    choices: list[msgspec.Raw] | None = None
    usage: WireUsage | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Model(msgspec.Struct, gc=False):
    id: str


class _Models(msgspec.Struct, gc=False):
    # Ollama sends null when it has no models.
    data: list[_Model] | None


_decode_reply = msgspec.json.Decoder(_Reply).decode
# Together sends the bare list.
_decode_models = msgspec.json.Decoder(_Models | list[_Model]).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


@lru_cache(maxsize=4096)
def _as_json(name: str) -> msgspec.Raw:
    return msgspec.Raw(_encode(name))


class OpenAIAdapter:
    """The adapter of OpenAI and of compatible providers."""

    def __init__(self, kind: Kind, *, knows_max_completion_tokens: bool = True) -> None:
        """Pass `knows_max_completion_tokens=False` for servers that reject or ignore it: they get `max_tokens`."""
        self.kind = kind
        self._knows_max_completion_tokens = knows_max_completion_tokens

    def encode(
        self, request: ModelRequest, deployment: Deployment, extra_headers: Mapping[str, str]
    ) -> UpstreamRequest:
        """Replace `model`, ask for a stream's usage, and leave every other value byte for byte."""
        fields = {**request.fields, "model": _as_json(deployment.upstream_model)}
        ignored_fields = _set_stream_options(fields, request, deployment)
        if not self._knows_max_completion_tokens and "max_completion_tokens" in fields:
            _use_max_tokens(fields)
        headers = self.headers(deployment.secret, is_token=deployment.oauth2 is not None)
        headers["content-type"] = "application/json"
        headers["accept"] = "text/event-stream" if request.stream else "application/json"
        headers.update(extra_headers)
        return UpstreamRequest(
            self.url_for(request.endpoint, deployment), headers, _encode(fields), "POST", ignored_fields
        )

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
        """Check that the reply is a JSON object and read its usage; the bytes stay as they are."""
        if request.endpoint == "responses":
            return read_response(body)
        try:
            reply = _decode_reply(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            reply = _lenient_decode(body)
        if not reply.choices and bytes(reply.error) not in _NO_ERROR:
            return Completion(body=body, usage=None, refusal=self.decode_error(body))
        return Completion(body, usage_from_wire(reply.usage))

    def stream(self, request: ModelRequest, *, event_limit: int) -> ReplyStream:
        """Return a reader that drops the usage chunk if the client did not ask for it."""
        if request.endpoint == "responses":
            return ResponsesStream(event_limit=event_limit)
        return ChatStream(request, event_limit=event_limit)

    def decode_error(self, body: bytes) -> UpstreamErrorBody:
        """Read `{"error": {...}}`, and the looser shapes that OpenAI-like servers send."""
        try:
            value = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
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
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            message = "the provider's list of models cannot be read"
            raise BadReply(message) from None


def _lenient_decode(body: bytes) -> _Reply:
    """Accept any JSON object: a server may put anything into `choices` or `usage`; usage is then unknown."""
    try:
        _decode_fields(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        message = "the provider's reply is not a JSON object"
        raise BadReply(message) from None
    return _Reply()


def _with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    """Return `stream_options` with include_usage on, keeping the client's other options."""
    if options is None:
        return _WITH_USAGE
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
        fields["stream_options"] = _with_usage(fields.get("stream_options"))
    return ()


def _use_max_tokens(fields: dict[str, msgspec.Raw]) -> None:
    """Rename `max_completion_tokens` to `max_tokens`; it wins if both were given."""
    limit = fields.pop("max_completion_tokens")
    if bytes(limit) != b"null":
        fields["max_tokens"] = limit
