"""Azure OpenAI: OpenAI's dialect under a resource's address, with its own header and two ways to name a model."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from llm_gateway.core.config.providers import Kind
from llm_gateway.core.config.snapshot import Deployment, EnabledProvider
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.errors import BadRequest
from llm_gateway.core.secret import Secret
from llm_gateway.providers.base import UpstreamRequest
from llm_gateway.providers.openai.adapter import OpenAIAdapter

AZURE = Kind(
    name="azure",
    version_segment="",
    endpoints=("chat/completions", "completions", "embeddings", "responses"),
)
_ROOT = "/openai"
_V1 = "/openai/v1"


class AzureAdapter(OpenAIAdapter):
    """Speaks to a resource's `/openai/v1`, or to its older paths when the provider has an `api_version`.

    The older paths name the deployment, which is the upstream model, and take the version as a query; `/openai/v1`
    refuses that query, so an `api_base` that names it settles the matter.
    """

    def url_for(self, endpoint: EndpointName, deployment: Deployment) -> str:
        """Return the URL for a deployment in Azure's sense of the word; raise BadRequest for what cannot be one."""
        resource, version = _resource(deployment.base_url), deployment.api_version
        if version is None or _names_v1(deployment.base_url):
            return f"{resource}{_V1}/{endpoint}"
        # Responses have the model in their body alone.
        place = "" if endpoint == "responses" else f"/deployments/{_segment(deployment.upstream_model)}"
        return f"{resource}{_ROOT}{place}/{endpoint}?api-version={quote(version, safe='')}"

    def headers(self, secret: Secret | None, *, is_token: bool) -> dict[str, str]:
        """Show a key as `api-key`, and Entra ID's token as a bearer's."""
        headers = super().headers(None if not is_token else secret, is_token=is_token)
        if secret is not None and not is_token:
            headers["api-key"] = secret.reveal()
        return headers

    def models_request(self, provider: EnabledProvider) -> UpstreamRequest:
        """Ask for the models that the resource may deploy: Azure lists no deployments to a key."""
        request = super().models_request(provider)
        resource, version = _resource(provider.base_url), provider.provider.api_version
        if version is None or _names_v1(provider.base_url):
            request.url = f"{resource}{_V1}/models"
        else:
            request.url = f"{resource}{_ROOT}/models?api-version={quote(version, safe='')}"
        return request


def _segment(model: str) -> str:
    """Return a model's name as one step of a path; a name from outside must not lead anywhere else."""
    if model in {".", ".."}:
        raise BadRequest("The field 'model' is no name of a deployment at this provider.", param="model")
    return quote(model, safe="")


def _names_v1(base_url: str) -> bool:
    return f"{urlsplit(base_url).path}/".endswith(f"{_V1}/")


def _resource(base_url: str) -> str:
    """Return the part of a base URL before `/openai`, however much of the path was written down."""
    path = urlsplit(base_url).path
    start = f"{path}/".find(f"{_ROOT}/")
    return base_url if start < 0 else base_url[: len(base_url) - len(path) + start]
