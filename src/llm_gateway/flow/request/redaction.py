"""Removes secrets and addresses from a provider's error messages."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from llm_gateway.core.config.snapshot import Deployment
from llm_gateway.core.errors import UpstreamRefused
from llm_gateway.providers.base import UpstreamErrorBody

_LONGEST_MESSAGE = 4096
_KEY_LIKE = re.compile(r"\b(?:sk|pk|rk|key)-[A-Za-z0-9_*\-]{6,}")


def redact(text: str, deployment: Deployment) -> str:
    """Replace the provider's secret, its address and anything that looks like an API key; shorten the rest."""
    if deployment.secret is not None and (secret := deployment.secret.reveal()):
        text = text.replace(secret, "[secret]")
    text = text.replace(deployment.base_url, "[provider]")
    host = urlsplit(deployment.base_url).netloc
    if host:
        text = text.replace(host, "[provider]")
    return _KEY_LIKE.sub("[secret]", text)[:_LONGEST_MESSAGE]


def refused(
    refusal: UpstreamErrorBody, status: int, deployment: Deployment, retry_after: float | None = None
) -> UpstreamRefused:
    """Return the provider's error with its own message, type, code and param, redacted."""
    message = refusal.message or f"The provider refused the request with status {status}."

    def safe(text: str | None) -> str | None:
        return None if text is None else redact(text, deployment)

    return UpstreamRefused(
        redact(message, deployment),
        status=status,
        type=safe(refusal.type),
        code=safe(refusal.code),
        param=safe(refusal.param),
        retry_after=retry_after,
    )
