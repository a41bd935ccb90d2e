"""Tells whether a provider's list of models is only one page of it."""

from __future__ import annotations

import msgspec


class _Paging(msgspec.Struct, gc=False):
    # OpenAI's and Anthropic's; Google's; others'.
    has_more: object = None
    google_token: object = msgspec.field(default=None, name="nextPageToken")
    next_page_token: object = None
    next_page: object = None
    next: object = None


_decode = msgspec.json.Decoder(_Paging).decode


def has_more_pages(body: bytes) -> bool:
    """Return whether the list that `body` holds says that there is more of it; a bare list never does."""
    try:
        paging = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return any((paging.has_more, paging.google_token, paging.next_page_token, paging.next_page, paging.next))
