"""Schemas become what structured outputs accept, as Anthropic's own SDK makes them."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest
from anthropic import transform_schema

from llm_gateway.providers.anthropic.schemas import strict_schema
from tests.fakes.anthropic_requests import encoded, refused, sent

SCHEMAS: list[dict[str, Any]] = [
    {"type": "integer", "minimum": 1, "maximum": 10, "description": "A number"},
    {"type": "object"},
    {"type": "object", "properties": {"a": {"type": "string", "minLength": 1, "pattern": "^a"}}, "required": ["a"]},
    {"type": "object", "properties": {}, "additionalProperties": True, "minProperties": 1},
    {"type": "string", "format": "date-time"},
    {"type": "string", "format": "binary", "title": "T"},
    {"type": "array", "items": {"type": "number", "multipleOf": 2}, "minItems": 1, "maxItems": 3},
    {"type": "array", "items": {"type": "null"}, "minItems": 4, "uniqueItems": True},
    {"enum": ["a", 1, None]},
    {"type": "string", "enum": ["a", "b"], "default": "a"},
    {"const": "x", "type": "string"},
    {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]},
    {"oneOf": [{"type": "string"}, {"type": "object", "properties": {"x": {"type": "boolean"}}}]},
    {"allOf": [{"type": "string"}]},
    {"$defs": {"d": {"type": "string", "maxLength": 3}}, "$ref": "#/$defs/d"},
    {"type": "object", "properties": {"d": {"$ref": "#/$defs/d"}}, "$defs": {"d": {"type": "integer", "minimum": 0}}},
]  # fmt: skip


def raw(schema: dict[str, Any]) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in schema.items()}


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_a_schema_is_what_the_sdk_makes_of_it(schema: dict[str, Any]) -> None:
    assert strict_schema(raw(schema), "s")[0] == transform_schema(copy.deepcopy(schema))


def test_what_a_schema_loses_is_named_by_its_path() -> None:
    schema = {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "minimum": 0},
            "tags": {"type": "array", "items": {"type": "string", "pattern": "a"}, "minItems": 2},
            "either": {"oneOf": [{"type": "null"}, {"type": "string", "maxLength": 2}]},
        },
        "additionalProperties": {"type": "string"},
    }
    assert strict_schema(raw(schema), "s")[1] == [
        "s.properties.age.minimum",
        "s.properties.tags.items.pattern",
        "s.properties.tags.minItems",
        "s.properties.either.oneOf",
        "s.properties.either.oneOf[1].maxLength",
        "s.additionalProperties",
    ]
    fine = {
        "type": "object",
        "properties": {"a": {"type": ["string", "null"]}},
        "additionalProperties": False,
    }
    assert strict_schema(raw(fine), "s") == (fine, [])


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"properties": {"a": {}}}, {"type": "object", "properties": {"a": {}}, "additionalProperties": False}),
        ({"items": {"type": "string"}}, {"type": "array", "items": {"type": "string"}}),
        ({"type": "array", "items": True}, {"type": "array", "items": True}),
        ({"definitions": {"d": {"type": "string", "maxLength": 1}}, "$ref": "#/definitions/d"},
         {"definitions": {"d": {"type": "string", "description": "{maxLength: 1}"}}, "$ref": "#/definitions/d"}),
        ({"type": ["object", "null"], "properties": 7},
         {"type": ["object", "null"], "properties": {}, "additionalProperties": False}),
        ({"type": "string", "format": []}, {"type": "string", "description": "{format: []}"}),
        ({"enum": []}, {"description": "{enum: []}"}),
    ],
)  # fmt: skip
def test_schemas_that_the_sdk_rejects_are_transformed_too(schema: dict[str, Any], wanted: Any) -> None:
    assert strict_schema(raw(schema), "s")[0] == wanted


def test_a_schema_of_a_response_and_of_a_strict_tool_is_transformed_and_of_another_tool_is_not() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "minLength": 2}}}
    strict = {"type": "string", "description": "{minLength: 2}"}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    tools = [
        {"type": "function", "function": {"name": f"f{is_strict}", "parameters": schema, "strict": is_strict}}
        for is_strict in (True, False)
    ]
    body = sent(response_format=wanted, tools=tools)
    assert body["output_config"]["format"]["schema"]["properties"]["a"] == strict
    assert body["tools"][0]["input_schema"]["properties"]["a"] == strict
    assert body["tools"][1]["input_schema"] == schema
    assert encoded(response_format=wanted, tools=tools).ignored_fields == (
        "response_format.json_schema.schema.properties.a.minLength",
        "tools[0].function.parameters.properties.a.minLength",
    )


def test_a_schema_that_is_nested_too_deeply_is_rejected() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(400):
        schema = {"type": "object", "properties": {"a": schema}}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    assert refused(response_format=wanted).param == "response_format.json_schema.schema"
