"""Removes secrets and addresses from a provider's error messages."""

from __future__ import annotations

import base64
import json
import re
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.errors import UpstreamRefused
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.upstream import AccessTokens
from llm_gateway.providers.base import UpstreamErrorBody

_LONGEST_MESSAGE = 4096
# Characters of a message that are searched: more than are shown, as what is hidden gets shorter.
_SEARCHED = 4 * _LONGEST_MESSAGE
# Characters in which the cut may have left a part of a secret that is not the provider's own.
_CUT_MARGIN = 256
_LEAST_ERROR_STATUS = 400
_CLIENT_CODES = frozenset({"400", "404", "413", "422"})
_RATE_LIMIT_CODE = "429"
# API keys, also masked ones; what follows the name of a scheme in an Authorization header; JSON web tokens.
# `re` compiles it at the first error, and keeps it.
_KEY_LIKE = (
    r"\b(?:sk|pk|rk|key)-[A-Za-z0-9_*\-]{6,}"
    r"|(?<=\bbearer )(?=[^\s\"']*\d)[A-Za-z0-9._~+/=%-]{16,}"
    r"|(?<=\bbasic )(?=[^\s\"']*\d)[A-Za-z0-9+/=%_-]{16,}"
    r"|\beyJ[A-Za-z0-9_-]{12,}(?:\.[A-Za-z0-9_-]*)*"
)
# As `html.escape`, whose module has half a megabyte of tables.
_IN_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
# A shorter part of a secret's base64 could be a part of a word.
_SHORTEST_BASE64 = 8


def redact(text: str, deployment: Deployment) -> str:
    """Replace the provider's secrets, its address and anything that looks like a secret; shorten the rest."""
    if len(text) <= _SEARCHED:
        return _hide(text, deployment)[:_LONGEST_MESSAGE]
    # The cut may have halved a secret, which is not found then.
    margin = max([_CUT_MARGIN, *map(len, _own_forms(deployment))])
    return _hide(text[:_SEARCHED], deployment)[:-margin][:_LONGEST_MESSAGE]


def redact_json(data: bytes, deployment: Deployment) -> bytes:
    """Replace the same in all strings of a JSON document; names of fields stay."""

    def hide(value: Any) -> Any:  # noqa: ANN401 - any JSON
        if isinstance(value, str):
            return _hide(value, deployment)
        if isinstance(value, list):
            return [hide(each) for each in value]
        if isinstance(value, dict):
            return {name: hide(each) for name, each in value.items()}
        return value

    return msgspec.json.encode(hide(msgspec.json.decode(data)))


def with_secrets(deployment: Deployment, tokens: AccessTokens) -> Deployment:
    """Return a deployment that knows all secrets of its OAuth2 client, for redaction."""
    if deployment.oauth2 is None:
        return deployment
    return msgspec.structs.replace(deployment, other_secrets=tokens.secrets(deployment.provider_id))


def _hide(text: str, deployment: Deployment) -> str:
    # A longer form may contain a shorter one.
    for form in sorted(_own_forms(deployment), key=len, reverse=True):
        text = text.replace(form, "[secret]")
    text = text.replace(deployment.base_url, "[provider]")
    host = urlsplit(deployment.base_url).netloc
    if host:
        text = text.replace(host, "[provider]")
    return re.sub(_KEY_LIKE, "[secret]", text, flags=re.IGNORECASE)


def _own_forms(deployment: Deployment) -> set[str]:
    secrets = deployment.other_secrets
    if deployment.secret is not None:
        secrets = (deployment.secret, *secrets)
    user = deployment.oauth2.client_id if deployment.oauth2 is not None else ""
    return {form for secret in secrets for form in _forms(secret, user)}


@lru_cache(maxsize=64)
def _forms(secret: Secret, user: str) -> frozenset[str]:
    """Return the ways in which a message may contain a secret: plain, escaped, encoded, or behind its user."""
    value = secret.reveal()
    if not value:
        return frozenset()
    forms = {
        value,
        value.translate(_IN_HTML),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
    }
    forms |= {json.dumps(value)[1:-1].replace("/", "\\/"), repr(value)[1:-1]}
    # Some encode the marks that nobody needs to.
    thorough = re.sub("[-._~]", lambda found: f"%{ord(found[0]):02X}", quote(value, safe=""))
    for percent in (quote(value, safe=""), quote(value), quote_plus(value), thorough):
        forms |= {percent, re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), percent)}
    data = value.encode()
    # `user:secret` of HTTP Basic, as RFC 6749 encodes it and as others do.
    pairs = (f"{user}:{value}", f"{quote_plus(user)}:{quote_plus(value)}") if user else ()
    for whole in (data, *(pair.encode() for pair in pairs)):
        for start in range(3):
            # The characters that do not depend on what stands before or behind.
            coded = base64.b64encode(bytes(start) + whole).rstrip(b"=").decode()
            core = coded[(0, 2, 3)[start] : len(coded) - bool((start + len(whole)) % 3)]
            if len(core) >= _SHORTEST_BASE64:
                forms |= {core, core.translate(_URL_SAFE)}
    if len(value) >= _SHORTEST_BASE64:
        forms |= {data.hex(), data.hex().upper()}
    return frozenset(forms)


_URL_SAFE = str.maketrans("+/", "-_")


def refused(
    refusal: UpstreamErrorBody, status: int, deployment: Deployment, retry_after: float | None = None
) -> UpstreamRefused:
    """Return the provider's error with its own message, type, code and param, redacted.

    An error with the status 200 is the provider's failure, unless it says that the client caused it.
    """
    message = refusal.message
    if not message:
        in_band = status < _LEAST_ERROR_STATUS
        message = (
            "The provider failed." if in_band else f"The provider refused the request with status {status}."
        )

    def safe(text: str | None) -> str | None:
        return None if text is None else redact(text, deployment)

    return UpstreamRefused(
        redact(message, deployment),
        status=status,
        type=safe(refusal.type) or (_type_in_band(refusal) if status < _LEAST_ERROR_STATUS else None),
        code=safe(refusal.code),
        param=safe(refusal.param),
        retry_after=retry_after,
    )


def _type_in_band(refusal: UpstreamErrorBody) -> str:
    """Return the type of an error without one, from its code: some servers put an HTTP status there."""
    if refusal.about in {"context_length", "content_policy"} or refusal.code in _CLIENT_CODES:
        return "invalid_request_error"
    return "rate_limit_error" if refusal.code == _RATE_LIMIT_CODE else "upstream_error"
