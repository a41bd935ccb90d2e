"""A request for a model as the gateway sees it: the fields it acts on, and the rest untouched."""

from __future__ import annotations

import msgspec

from llm_gateway.core.endpoints import ENDPOINTS, Endpoint, EndpointName


class ModelRequest(msgspec.Struct, gc=False):
    """One request: top-level fields with their raw JSON, decoded once.

    `fields` holds every top-level field as the client sent it (duplicate names collapsed to the last
    value, which is the one that was judged). `model` is the public name, prefix stripped. `created` is in
    Unix seconds: when the request came.
    """

    # Only its name: routing and cache keys compare it on every request. `traits` has the rest.
    endpoint: EndpointName
    model: str
    stream: bool
    # The client asked for the usage chunk of a stream itself.
    wants_usage: bool
    fields: dict[str, msgspec.Raw]
    created: int = 0
    # The field that names something which lives at one provider alone, such as `previous_response_id`; the
    # request makes sense nowhere else. None = there is no such field.
    stateful_field: str | None = None
    # Public models to try in place of those that the model's own rules name; None = those.
    fallbacks: tuple[str, ...] | None = None
    # Requests with different variants share no cached reply, even if all else is the same.
    variant: str = ""

    @property
    def traits(self) -> Endpoint:
        """What sets this request's endpoint apart."""
        return ENDPOINTS[self.endpoint]


class BoundRequest(ModelRequest, gc=False):
    """A request whose `stateful_field` names something at one known provider."""

    provider_id: int = 0
