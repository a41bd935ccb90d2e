"""The conventions' names are those of the revision that is named, and nothing else looks like them."""

from __future__ import annotations

from importlib import import_module

import pytest

from llm_gateway.core.endpoints import ENDPOINTS
from llm_gateway.infra.tracing import attribute_names
from llm_gateway.providers.registry import KINDS

semconv = pytest.importorskip("opentelemetry.semconv.schemas", reason="needs the otel extra")

NAMES = {
    name: value
    for name, value in vars(attribute_names).items()
    if isinstance(value, str) and value.startswith(("gen_ai.", "http.", "error.", "llm_gateway."))
}


def conventional() -> set[str]:
    modules = ("_incubating.attributes.gen_ai", "_incubating.attributes.http", "_incubating.attributes.error")
    found = [import_module(f"opentelemetry.semconv.{name}_attributes") for name in modules]
    return {value for module in found for value in vars(module).values() if isinstance(value, str)}


def test_names_of_the_conventions_exist_there() -> None:
    ours = {name for name in NAMES.values() if name.startswith("llm_gateway.")}
    assert set(NAMES.values()) - ours <= conventional()
    assert len(set(NAMES.values())) == len(NAMES) > len(ours) > 10


def test_the_revision_is_one_that_exists() -> None:
    assert attribute_names.SCHEMA_URL in {one.value for one in semconv.Schemas}


def test_endpoints_and_providers_have_their_names() -> None:
    assert attribute_names.OPERATIONS.keys() == ENDPOINTS.keys()
    assert attribute_names.PROVIDERS.keys() <= KINDS.keys()
    values = import_module("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    known = {one.value for one in values.GenAiProviderNameValues}
    assert set(attribute_names.PROVIDERS.values()) <= known
    assert set(attribute_names.OPERATIONS.values()) <= {one.value for one in values.GenAiOperationNameValues}
