"""The endpoints of OpenAI's API that call a model, and how they differ."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

# As in the path, without "/v1/".
EndpointName = Literal["chat/completions", "completions", "embeddings", "responses"]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of one endpoint that the gateway acts on; the wire modules know its JSON."""

    name: EndpointName
    # Messages in, a message out.
    is_chat: bool = False
    # A stream reports its usage only if `stream_options` asks for it.
    takes_stream_options: bool = False
    # Equal requests get equal replies, whatever the temperature.
    is_deterministic: bool = False
    # The provider stores a reply unless the request says `"store": false`.
    stores_by_default: bool = False
    # A stream always reports its usage.
    reports_usage: bool = False
    # A reply has a `status`; only a "completed" one is a whole answer.
    has_status: bool = False


ENDPOINTS: Mapping[EndpointName, Endpoint] = MappingProxyType(
    {
        endpoint.name: endpoint
        for endpoint in (
            Endpoint(name="chat/completions", is_chat=True, takes_stream_options=True),
            Endpoint(name="completions", takes_stream_options=True),
            Endpoint(name="embeddings", is_deterministic=True),
            Endpoint(name="responses", reports_usage=True, stores_by_default=True, has_status=True),
        )
    }
)
