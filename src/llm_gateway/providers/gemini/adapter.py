"""The adapter for Google's Gemini API: `generateContent` and `streamGenerateContent`."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from llm_gateway.core.config.deployments import Deployment, EnabledProvider
from llm_gateway.core.config.providers import Kind
from llm_gateway.core.errors import BadRequest
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.secret import Secret
from llm_gateway.providers.base import Completion, ReplyStream, UpstreamErrorBody, UpstreamRequest
from llm_gateway.providers.gemini.encoding import write_body
from llm_gateway.providers.gemini.errors import error_body_from
from llm_gateway.providers.gemini.streaming import GeminiStream
from llm_gateway.providers.gemini.whole import complete
from llm_gateway.providers.translating.assembling import whole_from_stream
from llm_gateway.providers.translating.stream import is_event_stream
from llm_gateway.wire.gemini.contents import is_list, read_models, read_reply
from llm_gateway.wire.raw_json import says_nothing

_USER_AGENT = "llm-gateway"
# Model names that start with one of these are already resource paths.
_COLLECTIONS = ("models/", "tunedModels/", "publishers/", "endpoints/")


class GeminiAdapter:
    """Translates OpenAI requests into generateContent requests, and Gemini's replies into OpenAI's."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def encode(
        self, request: ModelRequest, deployment: Deployment, extra_headers: Mapping[str, str]
    ) -> UpstreamRequest:
        """Build a generateContent request; raise BadRequest for a field that Gemini does not support."""
        body, ignored_fields = write_body(request, deployment.upstream_model)
        method = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        headers = _headers(deployment.secret, is_token=deployment.oauth2 is not None)
        headers["content-type"] = "application/json"
        headers["accept"] = "text/event-stream" if request.stream else "application/json"
        headers.update(extra_headers)
        url = f"{deployment.base_url}/{_path(deployment.upstream_model)}:{method}"
        return UpstreamRequest(url=url, headers=headers, body=body, ignored_fields=ignored_fields)

    def decode(self, body: bytes, request: ModelRequest) -> Completion:
        """Translate a unary reply, or a stream that was sent in its place; raise BadReply if it holds no answer."""
        if is_event_stream(body) or is_list(body):
            return whole_from_stream(self.stream(request, event_limit=len(body)), body, request)
        reply = read_reply(body)
        if not says_nothing(reply.error):
            return Completion(body=body, usage=None, refusal=error_body_from(body))
        return complete(reply, request)

    def stream(self, request: ModelRequest, *, event_limit: int) -> ReplyStream:
        """Return a reader that translates one streamed reply."""
        return GeminiStream(request, event_limit=event_limit)

    def decode_error(self, body: bytes) -> UpstreamErrorBody:
        """Read an error body, a `google.rpc.Status` in JSON."""
        return error_body_from(body)

    def models_request(self, provider: EnabledProvider) -> UpstreamRequest:
        """Build the request for the list of models: one page of the largest size, 1,000."""
        headers = _headers(provider.provider.secret, is_token=provider.provider.oauth2 is not None)
        headers["accept"] = "application/json"
        return UpstreamRequest(url=f"{provider.base_url}/models?pageSize=1000", headers=headers, method="GET")

    def decode_models(self, body: bytes) -> list[str]:
        """Return the names, without `models/`, of the models that support generateContent."""
        return [
            model.name.removeprefix("models/")
            for model in read_models(body)
            if model.supported_generation_methods is None
            or "generateContent" in model.supported_generation_methods
        ]


def _headers(secret: Secret | None, *, is_token: bool) -> dict[str, str]:
    headers = {"user-agent": _USER_AGENT, "accept-encoding": "identity"}
    if secret is not None and is_token:
        headers["authorization"] = f"Bearer {secret.reveal()}"
    elif secret is not None:
        headers["x-goog-api-key"] = secret.reveal()
    return headers


def _path(model: str) -> str:
    """Return a model's path below the base URL.

    Raise BadRequest for a name that would lead out of it, such as `models/../files`.
    """
    if not model.startswith(_COLLECTIONS):
        return "models/" + quote(model, safe="")
    if any(segment in {"", ".", ".."} for segment in model.split("/")):
        raise BadRequest("The field 'model' is not a valid model name for this provider.", param="model")
    return quote(model, safe="/")
