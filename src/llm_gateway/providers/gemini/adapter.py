"""Speaks Google's Gemini API: generateContent and its stream."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from llm_gateway.core.config.providers import Kind
from llm_gateway.core.config.snapshot import Deployment, EnabledProvider
from llm_gateway.core.errors import BadRequest
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.secret import Secret
from llm_gateway.providers.base import Completion, ReplyStream, UpstreamErrorBody, UpstreamRequest
from llm_gateway.providers.gemini.encoding import write_body
from llm_gateway.providers.gemini.errors import refusal_from
from llm_gateway.providers.gemini.streaming import GeminiStream
from llm_gateway.providers.gemini.whole import complete
from llm_gateway.wire.gemini.contents import read_models, read_reply

_USER_AGENT = "llm-gateway"
# Names below these are paths already.
_COLLECTIONS = ("models/", "tunedModels/", "publishers/", "endpoints/")


class GeminiAdapter:
    """Translates OpenAI's chats to generateContent, and what comes back."""

    def __init__(self, kind: Kind) -> None:
        """Speak for `kind`."""
        self.kind = kind

    def encode(
        self, request: ModelRequest, deployment: Deployment, extra_headers: Mapping[str, str]
    ) -> UpstreamRequest:
        """Write the request anew; raise BadRequest for what Gemini cannot be asked."""
        body, ignored_fields = write_body(request, deployment.upstream_model)
        method = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        headers = _headers(deployment.secret, is_token=deployment.oauth2 is not None)
        headers["content-type"] = "application/json"
        headers["accept"] = "text/event-stream" if request.stream else "application/json"
        headers.update(extra_headers)
        url = f"{deployment.base_url}/{_path(deployment.upstream_model)}:{method}"
        return UpstreamRequest(url=url, headers=headers, body=body, ignored_fields=ignored_fields)

    def decode(self, body: bytes, request: ModelRequest) -> Completion:
        """Read a whole reply and write OpenAI's; raise BadReply for one without an answer."""
        return complete(read_reply(body), request)

    def stream(self, request: ModelRequest, *, event_limit: int) -> ReplyStream:
        """Return the reader of a stream."""
        return GeminiStream(request, event_limit=event_limit)

    def decode_error(self, body: bytes) -> UpstreamErrorBody:
        """Read a google.rpc.Status."""
        return refusal_from(body)

    def models_request(self, provider: EnabledProvider) -> UpstreamRequest:
        """Ask for the list of models, as many as one page may have."""
        headers = _headers(provider.provider.secret, is_token=provider.provider.oauth2 is not None)
        headers["accept"] = "application/json"
        return UpstreamRequest(url=f"{provider.base_url}/models?pageSize=1000", headers=headers, method="GET")

    def decode_models(self, body: bytes) -> list[str]:
        """Return the names of the models that generate content, without `models/`."""
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
    """Return a model's path below the base URL; a name from outside must not lead anywhere else."""
    if not model.startswith(_COLLECTIONS):
        return "models/" + quote(model, safe="")
    if any(segment in {"", ".", ".."} for segment in model.split("/")):
        raise BadRequest("The field 'model' is no name of a model at this provider.", param="model")
    return quote(model, safe="/")
