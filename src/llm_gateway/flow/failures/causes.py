"""Judges what a provider's refusal is about: the request, the gateway's own account, or a model that it lacks."""

from __future__ import annotations

import re
from typing import Final

from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.base import About, UpstreamErrorBody

_PAYMENT, _FORBIDDEN = 402, 403
# Statuses of a server that has no such model or no such endpoint.
NOT_SERVED: Final = frozenset({404, 405, 410, 501})
# Errors inside a 2xx reply may have their HTTP status as a code.
_STATUS_CODES = {str(status): status for status in (401, _PAYMENT, _FORBIDDEN, *NOT_SERVED)}
_UNAUTHORIZED = 401

# A message about anything but a model or an endpoint: something that the request refers to, or a feature of it.
# `re` compiles it at the first error, as the others below, and keeps it.
_OTHER_THING = (
    r"(?i)\b(?:files?|images?|audio|video|documents?|attachments?|response|conversation|messages?|thread|assistant"
    r"|vector ?stores?|containers?|tools?|items?|batch|session|cached ?contents?|voice|prompt (?:template|with id)"
    r"|embeddings? file|parameters?|fields?|argument)\b"
    r"|\b(?:file|resp|conv|vs|pmpt|msg|rs|fc|cntr|asst|thread)[_-][A-Za-z0-9]{6,}"
)
# A 403 about the key that was sent, which is never the client's.
_OWN_ACCESS = (
    r"(?i)\b(?:api[ _-]?keys?|permissions?|organi[sz]ations?|accounts?|projects?|teams?|workspaces?|subscriptions?"
    r"|credits?|billing|spending|quota|country|region|territory|location|firewall|ip address|scopes?|access denied)\b"
)
# Not about the account as a whole: the content, or one model, which the client chose.
_REQUEST = r"(?i)\b(?:content|moderat\w+|flagged|safety|unsafe|harmful|violat\w+|models?)\b(?!\.\w)"
_LONGEST_SEARCHED = 4096
# Fields and values of a request that name something stored at a provider.
_STORED_FIELDS = ("conversation", "previous_response_id", "prompt", "container", "cached_content")
_STORED_VALUES = (b'"file_id"', b'"vector_store_ids"', b'"item_reference"', b'"container_id"', b'"file_uri"')


def cause_of(status: int | None, body: UpstreamErrorBody, request: ModelRequest | None) -> About | None:
    """Return what a refusal is about; None = the status alone tells.

    `status` is None for an error inside a 2xx reply. `request` is None when it is not known.
    """
    if body.about == "unserved":
        return None if _is_stateful(request) else "unserved"
    if body.about is not None:
        return body.about
    if status is None:
        status = _STATUS_CODES.get(body.code or "")
    if status == _UNAUTHORIZED:
        return "own_secret"
    if status == _PAYMENT:
        return "account"
    if status == _FORBIDDEN:
        return "account" if _is_about_access(body) else None
    if status in NOT_SERVED and not _names_another_thing(body) and not _refers_to_stored(request):
        return "unserved"
    return None


def _is_about_access(body: UpstreamErrorBody) -> bool:
    message = (body.message or "")[:_LONGEST_SEARCHED]
    named = f"{body.type or ''} {body.code or ''}".replace("_", " ")
    if re.search(_REQUEST, message) or _names_another_thing(body):
        return False
    return any(re.search(_OWN_ACCESS, text) is not None for text in (message, named))


def _names_another_thing(body: UpstreamErrorBody) -> bool:
    if body.param not in {None, "", "model"}:
        return True
    return re.search(_OTHER_THING, (body.message or "")[:_LONGEST_SEARCHED]) is not None


def _is_stateful(request: ModelRequest | None) -> bool:
    return request is not None and request.stateful_field is not None


def _refers_to_stored(request: ModelRequest | None) -> bool:
    """Tell whether the request names something that the provider stores, which may be what it did not find."""
    if request is None:
        return False
    fields = request.fields
    if request.endpoint == "responses" and any(
        bytes(fields.get(name, b"null")) != b"null" for name in _STORED_FIELDS
    ):
        return True
    return any(mark in bytes(value) for value in fields.values() for mark in _STORED_VALUES)
