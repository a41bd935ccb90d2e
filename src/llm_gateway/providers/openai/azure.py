"""Azure OpenAI: OpenAI's API with its own URLs and key header."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from llm_gateway.core.config.deployments import Deployment, EnabledProvider
from llm_gateway.core.config.providers import Kind
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.errors import BadRequest
from llm_gateway.core.secret import Secret
from llm_gateway.providers.base import UpstreamRequest
from llm_gateway.providers.openai.adapter import OpenAIAdapter

AZURE = Kind(
    name="azure",
    version_segment="",
    endpoints=("chat/completions", "completions", "embeddings", "responses"),
    # It lists models that can be deployed, and requests name deployments.
    lists_all_models=False,
    # No `price_provider`: the upstream model is the name of a deployment, which may be any. An administrator whose
    # deployments are named like their models sets the provider's own to "azure".
)
_ROOT = "/openai"
_V1 = "/openai/v1"


class AzureAdapter(OpenAIAdapter):
    """Uses a resource's `/openai/v1`, or its older paths if the provider has an `api_version`.

    The older paths contain the deployment, which is the upstream model, and take the version as a query parameter.
    `/openai/v1` rejects that parameter, so `api_version` is not sent if `api_base` contains `/openai/v1`.
    """

    # URLs and headers are those of the deployment here, too.
    encode_body = OpenAIAdapter.encode_body

    def url_for(self, endpoint: EndpointName, deployment: Deployment) -> str:
        """Return the URL; raise BadRequest if the model cannot be the name of an Azure deployment."""
        resource, version = _resource(deployment.base_url), deployment.api_version
        if version is None or _names_v1(deployment.base_url):
            return f"{resource}{_V1}/{endpoint}"
        # The Responses API names the model only in the body.
        place = "" if endpoint == "responses" else f"/deployments/{_segment(deployment.upstream_model)}"
        return f"{resource}{_ROOT}{place}/{endpoint}?api-version={quote(version, safe='')}"

    def headers(self, secret: Secret | None, *, is_token: bool) -> dict[str, str]:
        """Send a key as `api-key`, an Entra ID token as a Bearer token."""
        headers = super().headers(None if not is_token else secret, is_token=is_token)
        if secret is not None and not is_token:
            headers["api-key"] = secret.reveal()
        return headers

    def models_request(self, provider: EnabledProvider) -> UpstreamRequest:
        """List the models that the resource can deploy: a key cannot list deployments."""
        request = super().models_request(provider)
        resource, version = _resource(provider.base_url), provider.provider.api_version
        if version is None or _names_v1(provider.base_url):
            request.url = f"{resource}{_V1}/models"
        else:
            request.url = f"{resource}{_ROOT}/models?api-version={quote(version, safe='')}"
        return request


def _segment(model: str) -> str:
    """Return a model's name as one path segment, so that it cannot change the rest of the path."""
    if model in {".", ".."}:
        raise BadRequest("The field 'model' is not a valid deployment name at this provider.", param="model")
    return quote(model, safe="")


def _names_v1(base_url: str) -> bool:
    return f"{urlsplit(base_url).path}/".endswith(f"{_V1}/")


def _resource(base_url: str) -> str:
    """Return the part of a base URL before `/openai`, if there is one."""
    path = urlsplit(base_url).path
    start = f"{path}/".find(f"{_ROOT}/")
    return base_url if start < 0 else base_url[: len(base_url) - len(path) + start]
