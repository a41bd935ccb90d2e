"""`?dry_run` and `If-Match`, which every write of the catalog takes, and the `ETag` that answers carry."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Header, Query, Request, Response

from llm_gateway.core.errors import BadRequest
from llm_gateway.flow.config.editor import EditOptions

# RFC 9110, 8.8.3: a weak validator is accepted, since a version says as much as a strong one.
_ENTITY_TAG = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_SEPARATOR = re.compile(r"[ \t]*(?:,[ \t]*|$)")

_DryRun = Annotated[
    bool, Query(description="Check everything and answer what would be stored, without storing it.")
]
_IfMatch = Annotated[
    str | None,
    Header(
        description=(
            'Write only if the stored configuration has this version: the `ETag` of an earlier answer, as in "7". '
            "Lists and * are accepted. Otherwise the answer is 412."
        )
    ),
]


def _edit_options(request: Request, dry_run: _DryRun = False, if_match: _IfMatch = None) -> EditOptions:
    if if_match is None:
        return EditOptions(dry_run=dry_run)
    return EditOptions(
        dry_run=dry_run, if_match=read_if_match(", ".join(request.headers.getlist("if-match")))
    )


Options = Annotated[EditOptions, Depends(_edit_options)]


def read_if_match(header: str) -> frozenset[int] | None:
    """Return the versions in an If-Match header, None for `*`; raise BadRequest when it is malformed.

    A well-formed tag that is not a version matches nothing.
    """
    header = header.strip(" \t")
    if header == "*":
        return None
    versions: set[int] = set()
    found, at = 0, 0
    while at < len(header):
        if (tag := _ENTITY_TAG.match(header, at)) is not None:
            found, at = found + 1, tag.end()
            versions.update(_versions(tag.group(1)))
        separator = _SEPARATOR.match(header, at)
        if separator is None or (tag is None and separator.end() == at):
            raise _malformed()
        at = separator.end()
    if not found:
        raise _malformed()
    return frozenset(versions)


def _versions(tag: str) -> tuple[int, ...]:
    is_version = tag.isascii() and tag.isdigit() and len(tag) < 20 and str(int(tag)) == tag
    return (int(tag),) if is_version else ()


def _malformed() -> BadRequest:
    return BadRequest(
        'If-Match must be configuration versions in double quotes, as in "7" or "7", "8", or *',
        param="If-Match",
    )


def set_etag(response: Response, version: int) -> None:
    """Send the stored version that an answer shows as its ETag."""
    response.headers["etag"] = f'"{version}"'
