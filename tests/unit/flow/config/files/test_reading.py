"""A file is recognised by its sections."""

from __future__ import annotations

import pytest

from llm_gateway.flow.config.files.nodes import InvalidConfigFile
from llm_gateway.flow.config.files.reading import read_config_file
from llm_gateway.providers.registry import KINDS


def form(text: str) -> str:
    return read_config_file(text.encode(), KINDS, environ={}, forbidden_variables=frozenset()).format


def test_formats_are_recognised() -> None:
    assert form("providers: {}\n") == "gateway"
    assert form("task_types: {a: [b]}\n") == "gateway"
    assert form("model_list: []\n") == "litellm"
    assert form("general_settings: {master_key: x}\n") == "litellm"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "line 1: the file must hold sections"),
        ("just text\n", "line 1: the file must hold sections"),
        ("provider: {}\n", "line 1: 'provider' is unknown; did you mean providers?"),
        ("services: {}\n", "line 1: 'services' is unknown; a file has providers and models"),
        ("{}\n", "line 1: the file must hold sections"),
    ],
)
def test_other_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidConfigFile) as raised:
        form(text)
    assert message in str(raised.value)
