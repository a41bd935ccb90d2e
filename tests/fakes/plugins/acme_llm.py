"""Acme's API is OpenAI's, with a key header of its own and without `logit_bias`."""

from __future__ import annotations

from collections.abc import Mapping

from llm_gateway.providers.plugin_api import (
    Deployment,
    Kind,
    ModelRequest,
    OpenAIAdapter,
    Secret,
    UpstreamRequest,
    unsupported_field,
)


class AcmeAdapter(OpenAIAdapter):
    """Overrides what differs from OpenAI."""

    def headers(self, secret: Secret | None, *, is_token: bool) -> dict[str, str]:
        headers = super().headers(None, is_token=is_token)
        if secret is not None:
            headers["x-acme-key"] = secret.reveal()
        return headers

    def encode(
        self, request: ModelRequest, deployment: Deployment, extra_headers: Mapping[str, str]
    ) -> UpstreamRequest:
        if "logit_bias" in request.fields:
            raise unsupported_field("Acme's API", "logit_bias")
        return super().encode(request, deployment, extra_headers)


ADAPTER = AcmeAdapter(Kind(name="acme", default_api_base="https://api.acme.example/v1"))
