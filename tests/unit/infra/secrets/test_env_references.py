"""References to environment variables, and masks."""

from __future__ import annotations

import pytest

from llm_gateway.infra.secrets.env_references import MissingVariable, mask, resolve_reference


def test_s2_8_references_are_looked_up() -> None:
    assert resolve_reference("env:OPENAI_API_KEY", {"OPENAI_API_KEY": " sk-x\n"}) == "sk-x"
    for reference, environ, says in (
        ("env:MISSING", {}, "environment variable MISSING is not set"),
        ("env:EMPTY", {"EMPTY": " "}, "environment variable EMPTY is not set"),
        ("env:", {}, "env:NAME"),
        ("env:A B", {"A B": "x"}, "env:NAME"),
        ("env:DB_URL", {"DB_URL": "hunter2"}, "a setting of the gateway"),
        ("env:admin_key", {"admin_key": "hunter2"}, "a setting of the gateway"),
        ("env:ODD", {"ODD": "hunter2\r\nx: y"}, "not allowed in an HTTP header"),
    ):
        with pytest.raises(MissingVariable, match=says) as missing:
            resolve_reference(reference, environ)
        assert "hunter2" not in str(missing.value)


def test_s4_39_masks_show_four_characters_of_long_secrets_alone() -> None:
    assert mask("sk-0123456789abcdef") == "***cdef"
    assert mask("short-secret") == "***"
    assert mask("") == "***"
