"""Every path and every error code is documented, and nothing is documented that does not exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from llm_gateway.admin.router import admin_router
from llm_gateway.app.client_apis import client_apis
from llm_gateway.core import errors
from llm_gateway.ops.health import health_paths
from llm_gateway.settings import Settings
from llm_gateway.surfaces.translating.bodies import INVALID_JSON, MISSING_FIELD, UNKNOWN_FIELD, WRONG_TYPE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/api.md").read_text()
# They document the others.
OWN_PATHS = {"/docs": "GET", "/openapi.json": "GET"}


def test_every_path_is_documented_with_its_methods() -> None:
    app = FastAPI()
    app.include_router(admin_router())
    paths: dict[str, Any] = {**app.openapi()["paths"], **health_paths()}
    for surface in client_apis(Settings()):
        paths |= surface.openapi_paths()
    exported = {path: ", ".join(sorted(operations)).upper() for path, operations in paths.items()}
    documented = re.findall(r"^\| `(/[^`]*)` \| ([A-Z, ]+) \|", PAGE, re.MULTILINE)
    assert sorted(documented) == sorted((exported | OWN_PATHS).items())


def _error_classes(base: type[errors.GatewayError]) -> list[type[errors.GatewayError]]:
    return [base, *(found for child in base.__subclasses__() for found in _error_classes(child))]


def _codes() -> set[str]:
    """Return the codes of the error tree, those given where errors are raised, and those of the HTTP server."""
    codes = {error.code for error in _error_classes(errors.GatewayError) if error.code}
    codes |= {INVALID_JSON, MISSING_FIELD, UNKNOWN_FIELD, WRONG_TYPE}
    for module in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if not isinstance(node, ast.Call):
                continue
            given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            if ast.unparse(node.func) == "HttpRejection" and "server" in module.parts:
                given += node.args[1:2]
            codes |= {str(value.value) for value in given if isinstance(value, ast.Constant) and value.value}
    return codes


def test_every_error_code_is_documented() -> None:
    errors_table = PAGE.partition("## Errors")[2]
    documented = re.findall(r"^\| `(\w+)` \| [\d, ]+ \| \S", errors_table, re.MULTILINE)
    assert len(documented) == len(set(documented))
    assert set(documented) == _codes()
