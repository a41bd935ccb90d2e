"""Checks what a plug-in offers against the contract of adapters, and says what is wrong with it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from llm_gateway.core.config.providers import Kind, Provider, provider_faults
from llm_gateway.core.pricing.price_book import PriceBook

# The names of the arguments of each method; those after the bar are passed by keyword.
_METHODS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "encode": "request deployment extra_headers",
        "decode": "body request",
        "stream": "request | event_limit",
        "decode_error": "body",
        "models_request": "provider",
        "decode_models": "body",
    }
)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VERSION_SEGMENT = re.compile(r"(/[^/?#\s]+)*")
# The schemes that there are transports for.
_SCHEMES = frozenset({"http", "https"})


def adapter_faults(found: object, name: str, book: PriceBook | None = None) -> list[str]:
    """Return what is wrong with the object that a plug-in offers as the kind `name`; [] for a usable adapter.

    `book` has the providers that `price_provider` may name; without it, that field is not checked.
    """
    if isinstance(found, type):
        return [f"it is the class {found.__name__}, and must be an adapter: name an instance of it"]
    kind = getattr(found, "kind", None)
    if not isinstance(kind, Kind):
        return [f"it is {_a(found)}, and must be an adapter, whose `kind` is a Kind"]
    if (wrong_type := _type_fault(kind)) is not None:
        return [wrong_type]
    return [*_kind_faults(kind, name, book), *_method_faults(found)]


def _a(found: object) -> str:
    return "None" if found is None else f"an object of the class {type(found).__name__}"


def _type_fault(kind: Kind) -> str | None:
    """Structs do not check their fields when they are made."""
    try:
        msgspec.convert(msgspec.structs.asdict(kind), Kind)
    except msgspec.ValidationError as error:
        return f"its kind is invalid: {error}"
    return None


def _kind_faults(kind: Kind, name: str, book: PriceBook | None) -> Iterator[str]:
    if kind.name != name:
        yield f"kind.name is {kind.name!r}, and must be the name of its entry point, {name!r}"
    elif not _NAME.fullmatch(name):
        yield f"the name {name!r} must be 1 to 64 lower-case letters, digits and . _ -, and begin with no sign"
    if not kind.endpoints:
        yield "kind.endpoints is empty, so that no request could be sent"
    if not kind.schemes or not _SCHEMES.issuperset(kind.schemes):
        yield f"kind.schemes is {kind.schemes!r}, and may hold 'http' and 'https' only"
    elif kind.default_api_base is not None:
        probe = Provider(id=0, provider_key=name, provider_type=kind.name, api_base=kind.default_api_base)
        for fault in provider_faults(probe, {kind.name: kind}):
            yield f"kind.default_{fault.message}"
    if not _VERSION_SEGMENT.fullmatch(kind.version_segment):
        yield f"kind.version_segment is {kind.version_segment!r}, and must be like '/v1', or ''"
    if book is not None and kind.price_provider is not None and book.provider(kind.price_provider) is None:
        yield f"kind.price_provider is {kind.price_provider!r}, which the price book does not have"


def _method_faults(adapter: object) -> Iterator[str]:
    for name, words in _METHODS.items():
        method = getattr(adapter, name, None)
        if not callable(method):
            yield f"it has no method `{name}`"
        elif inspect.iscoroutinefunction(method):
            yield f"its method `{name}` is async, and must not wait for anything"
        elif not _takes(method, words):
            yield f"its method `{name}` must take ({_shown(words)})"


def _takes(method: Any, words: str) -> bool:  # noqa: ANN401 - whatever a plug-in has there
    by_place, _, by_keyword = words.partition("|")
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):
        # Of compiled code, which does not say what it takes.
        return True
    try:
        signature.bind(*by_place.split(), **dict.fromkeys(by_keyword.split(), 0))
    except TypeError:
        return False
    return True


def _shown(words: str) -> str:
    return ", ".join(words.replace("|", "*").split())
