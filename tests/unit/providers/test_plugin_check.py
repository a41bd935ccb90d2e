"""What is said of an object that a plug-in offers as an adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from llm_gateway.core.config.providers import Kind
from llm_gateway.infra.price_book.shipped import shipped_price_book
from llm_gateway.providers.base import Adapter
from llm_gateway.providers.lazy import OnFirstUse
from llm_gateway.providers.plugin_check import adapter_faults
from llm_gateway.providers.registry import ADAPTERS
from tests.fakes.plugins import acme_llm, parrot_llm

EXAMPLES: list[Adapter] = [acme_llm.ADAPTER, parrot_llm.ADAPTER]
KIND = Kind(name="acme", default_api_base="https://api.acme.example/v1")


class Whole:
    """Takes what an adapter takes."""

    def __init__(self, kind: Any = KIND, **changed: object) -> None:
        self.kind = kind
        for name, value in changed.items():
            setattr(self, name, value)

    def encode(self, request: object, deployment: object, extra_headers: object) -> None: ...
    def decode(self, body: object, request: object) -> None: ...
    def stream(self, request: object, *, event_limit: object) -> None: ...
    def decode_error(self, body: object) -> None: ...
    def models_request(self, provider: object) -> None: ...
    def decode_models(self, body: object) -> None: ...


def of_kind(**fields: Any) -> Whole:
    return Whole(msgspec.structs.replace(KIND, **fields))


@pytest.mark.parametrize(
    "adapter", [*EXAMPLES, *ADAPTERS.values(), Whole()], ids=lambda one: str(one.kind.name)
)
def test_nothing_is_said_of_an_adapter(adapter: Adapter) -> None:
    if adapter.kind.name != "simulated":
        assert adapter_faults(adapter, adapter.kind.name, shipped_price_book()) == []


def test_a_lazy_adapter_is_not_made_for_the_check() -> None:
    def make(kind: Kind) -> Adapter:
        raise AssertionError("made")

    assert adapter_faults(OnFirstUse(KIND, make), "acme") == []


async def waits(body: object) -> None: ...


no_arguments: Callable[[], None] = lambda: None  # noqa: E731 - a method that takes nothing


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Whole, "it is the class Whole, and must be an adapter: name an instance of it"),
        (None, "it is None, and must be an adapter, whose `kind` is a Kind"),
        (KIND, "it is an object of the class Kind, and must be an adapter, whose `kind` is a Kind"),
        (Whole("acme"), "it is an object of the class Whole, and must be an adapter, whose `kind` is a Kind"),
        (of_kind(name=7), "its kind is invalid: Expected `str`, got `int` - at `$.name`"),
        (of_kind(endpoints="chat"), "its kind is invalid: Expected `array`, got `str` - at `$.endpoints`"),
        (
            of_kind(endpoints=("chat",)),
            "its kind is invalid: Invalid enum value 'chat' - at `$.endpoints[0]`",
        ),
        (of_kind(endpoints=()), "kind.endpoints is empty, so that no request could be sent"),
        (of_kind(name="acmee"), "kind.name is 'acmee', and must be the name of its entry point, 'acme'"),
        (of_kind(schemes=("ftp",)), "kind.schemes is ('ftp',), and may hold 'http' and 'https' only"),
        (of_kind(schemes=()), "kind.schemes is (), and may hold 'http' and 'https' only"),
        (
            of_kind(default_api_base="api.acme.example"),
            "kind.default_api_base must be a URL that starts with http:// or https://",
        ),
        (of_kind(version_segment="v1"), "kind.version_segment is 'v1', and must be like '/v1', or ''"),
        (of_kind(version_segment="/v1/"), "kind.version_segment is '/v1/', and must be like '/v1', or ''"),
        (
            of_kind(price_provider="no-such"),
            "kind.price_provider is 'no-such', which the price book does not have",
        ),
        (Whole(decode=None), "it has no method `decode`"),
        (Whole(decode_error=waits), "its method `decode_error` is async, and must not wait for anything"),
        (Whole(stream=no_arguments), "its method `stream` must take (request, *, event_limit)"),
        (Whole(encode=no_arguments), "its method `encode` must take (request, deployment, extra_headers)"),
    ],
)
def test_what_is_wrong_is_said(found: object, said: str) -> None:
    assert adapter_faults(found, "acme", shipped_price_book()) == [said]


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = Whole(msgspec.structs.replace(KIND, endpoints=(), version_segment="v1"), decode=None)
    assert len(adapter_faults(found, "acme")) == 3


@pytest.mark.parametrize("name", ["Acme", "acme llm", "", ".acme", "a" * 65])
def test_a_name_that_no_provider_type_can_have_is_refused(name: str) -> None:
    [said] = adapter_faults(of_kind(name=name), name)
    assert said.startswith(f"the name {name!r} must be 1 to 64 lower-case letters")
