"""A chat (or legacy completion) request as the gateway sees it: the fields it acts on, and the rest untouched."""

from __future__ import annotations

from typing import Literal

import msgspec

Endpoint = Literal["chat/completions", "completions"]


class ChatRequest(msgspec.Struct, kw_only=True, gc=False):
    """One request: top-level fields with their raw JSON, decoded once.

    `fields` holds every top-level field as the client sent it (duplicate names collapsed to the last
    value, which is the one that was judged). `model` is the public name, prefix stripped.
    """

    endpoint: Endpoint
    model: str
    stream: bool
    # The client asked for the usage chunk of a stream itself.
    wants_usage: bool
    fields: dict[str, msgspec.Raw]
