"""Reads on whose behalf a request of OpenAI's API is sent: the gateway's own headers, else the body's `user`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION, Attribution
from llm_gateway.surfaces.openai.fields import Fields

TAGS: Final = b"x-llm-gateway-tags"
AGENT: Final = b"x-llm-gateway-agent"
USER: Final = b"x-llm-gateway-user"
_HEADERS: Final = frozenset({TAGS, AGENT, USER})

MOST_TAGS = 20
LONGEST_TAG_NAME = 64
# Of a tag's value, an agent and a user.
LONGEST_TEXT = 256

_decode_text = msgspec.json.Decoder(str).decode


class InvalidAttribution(Attribution, frozen=True, kw_only=True):
    """Headers that cannot be read. The request is refused when its body is read: its client is known by then."""

    header: str
    message: str

    def refusal(self) -> BadRequest:
        return BadRequest(f"The header {self.header} {self.message}.", param=self.header)


class _Invalid(ValueError):
    pass


def stated_in_headers(headers: Mapping[bytes, bytes]) -> Attribution:
    """Return what the headers say; NO_ATTRIBUTION if there are none, InvalidAttribution for one that is malformed."""
    if _HEADERS.isdisjoint(headers):
        return NO_ATTRIBUTION
    name = TAGS
    try:
        tags = _tags(headers.get(TAGS, b""))
        name = AGENT
        agent = _name(headers.get(AGENT, b""))
        name = USER
        user = _name(headers.get(USER, b""))
    except _Invalid as error:
        return InvalidAttribution(header=name.decode(), message=str(error))
    return Attribution(agent=agent, user=user, tags=tags) if agent or user or tags else NO_ATTRIBUTION


def with_user_of(fields: Fields, stated: Attribution) -> Attribution:
    """Return `stated`, with the body's user unless a header names one; raise BadRequest for a malformed header."""
    if isinstance(stated, InvalidAttribution):
        raise stated.refusal()
    raw = fields.get("user")
    if raw is None or stated.user is not None:
        return stated
    try:
        user = _decode_text(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Whether a provider accepts it is not the gateway's business.
        return stated
    return msgspec.structs.replace(stated, user=user[:LONGEST_TEXT]) if user else stated


def _tags(header: bytes) -> dict[str, str] | None:
    tags: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in _text(header).split(","))):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not name:
            raise _Invalid("must be tags such as team=red, job=42")
        if len(name) > LONGEST_TAG_NAME or len(value) > LONGEST_TEXT:
            raise _Invalid(
                f"has a tag that is too long: names have at most {LONGEST_TAG_NAME} characters, "
                f"values at most {LONGEST_TEXT}"
            )
        if name in tags:
            raise _Invalid("has two tags of one name")
        tags[name] = value
        if len(tags) > MOST_TAGS:
            raise _Invalid(f"has more than {MOST_TAGS} tags")
    return tags or None


def _name(header: bytes) -> str | None:
    name = _text(header).strip()
    if len(name) > LONGEST_TEXT:
        raise _Invalid(f"must have at most {LONGEST_TEXT} characters")
    return name or None


def _text(header: bytes) -> str:
    try:
        text = header.decode()
    except UnicodeDecodeError:
        raise _Invalid("must be UTF-8") from None
    if not text.isprintable():
        raise _Invalid("must hold printable characters only")
    return text
