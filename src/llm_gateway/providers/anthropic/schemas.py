"""Transforms JSON schemas to what Anthropic's structured outputs accept, as Anthropic's own SDKs do.

The result has only supported keywords. Others become text in the description, which the model usually follows.
"""

from __future__ import annotations

from typing import Any

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.wire.raw_json import JsonObject

_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_DEFINITIONS = ("$defs", "definitions")
_LEAST_ITEMS = (0, 1)
# The type that a schema without one means, by its keywords.
_IMPLIED = {"properties": "object", "items": "array"}


def strict_schema(schema: JsonObject, path: str) -> tuple[dict[str, Any], list[str]]:
    """Return the transformed schema, and the paths of the keywords that it lost or weakened.

    `path` is the schema's own path in the request. Raise BadRequest if the schema is nested too deeply.
    """
    ignored: list[str] = []
    try:
        given: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(schema))
        return _strict(given, path, ignored), ignored
    except RecursionError:
        raise BadRequest(f"The field '{path}' is nested too deeply.", param=path) from None
    except msgspec.DecodeError:
        # Such as a number out of range: for the provider to judge.
        return dict(schema), []


def _strict(schema: Any, path: str, ignored: list[str]) -> Any:  # noqa: ANN401 - JSON
    if not isinstance(schema, dict):
        # `true` and `false` are schemas, too.
        return schema
    rest = dict(schema)
    made: dict[str, Any] = {}
    for name in _DEFINITIONS:
        if isinstance(rest.get(name), dict):
            made[name] = _each(rest.pop(name), f"{path}.{name}", ignored)
    if "$ref" in rest:
        made["$ref"] = rest.pop("$ref")
        ignored += [f"{path}.{name}" for name in rest]
        return made
    kinds = rest.pop("type", None) or next((kind for name, kind in _IMPLIED.items() if name in rest), None)
    _put_literals(made, rest)
    has_literals = bool(made.keys() & {"enum", "const"})
    _put_choices(made, rest, path, ignored)
    if kinds is not None and not has_literals and not made.keys() & {"anyOf", "allOf"}:
        made["type"] = kinds
    for name in ("description", "title"):
        if rest.get(name) is not None:
            made[name] = rest.pop(name)
    if not has_literals:
        _put_details(made, rest, kinds if isinstance(kinds, list) else [kinds], path, ignored)
    if rest:
        ignored += [f"{path}.{name}" for name in rest]
        told = "{" + ", ".join(f"{name}: {value}" for name, value in rest.items()) + "}"
        made["description"] = f"{made['description']}\n\n{told}" if "description" in made else told
    return made


def _each(schemas: dict[str, Any], path: str, ignored: list[str]) -> dict[str, Any]:
    return {name: _strict(schema, f"{path}.{name}", ignored) for name, schema in schemas.items()}


def _put_literals(made: dict[str, Any], rest: dict[str, Any]) -> None:
    values = rest.get("enum")
    if isinstance(values, list) and values and all(map(_is_primitive, values)):
        made["enum"] = rest.pop("enum")
    if "const" in rest and _is_primitive(rest["const"]):
        made["const"] = rest.pop("const")


def _put_choices(made: dict[str, Any], rest: dict[str, Any], path: str, ignored: list[str]) -> None:
    """Put the first of anyOf, oneOf (as anyOf) and allOf; drop the others."""
    found = {name: rest.pop(name) for name in ("anyOf", "oneOf", "allOf") if name in rest}
    chosen = next((name for name, value in found.items() if isinstance(value, list)), None)
    ignored += [f"{path}.{name}" for name in found if name != chosen or name == "oneOf"]
    if chosen is not None:
        made["allOf" if chosen == "allOf" else "anyOf"] = [
            _strict(one, f"{path}.{chosen}[{at}]", ignored) for at, one in enumerate(found[chosen])
        ]


def _put_details(
    made: dict[str, Any], rest: dict[str, Any], kinds: list[Any], path: str, ignored: list[str]
) -> None:
    """Put the supported keywords of objects, strings and arrays."""
    if "object" in kinds:
        properties = rest.pop("properties", None)
        made["properties"] = _each(
            properties if isinstance(properties, dict) else {}, f"{path}.properties", ignored
        )
        if rest.pop("additionalProperties", False) is not False:
            ignored.append(f"{path}.additionalProperties")
        made["additionalProperties"] = False
        if rest.get("required") is not None:
            made["required"] = rest.pop("required")
    if "string" in kinds and isinstance(rest.get("format"), str) and rest["format"] in _FORMATS:
        made["format"] = rest.pop("format")
    if "array" in kinds:
        if rest.get("items") is not None:
            made["items"] = _strict(rest.pop("items"), f"{path}.items", ignored)
        if rest.get("minItems") in _LEAST_ITEMS:
            made["minItems"] = rest.pop("minItems")
        elif "minItems" in rest:
            # Last, as in Anthropic's SDK.
            rest["minItems"] = rest.pop("minItems")


def _is_primitive(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))
