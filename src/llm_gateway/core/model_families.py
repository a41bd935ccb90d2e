"""Model families, such as `openai`: the models of one maker, and the provider that serves them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec


class ModelFamily(msgspec.Struct, frozen=True, kw_only=True):
    """The models of one maker. Its name stands for its default model where the catalog has no model of that name."""

    # Also the key of the provider that a first start makes of `<NAME>_API_KEY`.
    name: str
    default_model: str
    # The kind of that provider.
    kind: str
    # Other kinds of providers that serve the family.
    other_kinds: frozenset[str] = frozenset()
    # The names of its models, as globs.
    patterns: tuple[str, ...]


_KNOWN: Final = (
    ModelFamily(
        name="openai",
        default_model="gpt-4o",
        kind="openai",
        other_kinds=frozenset({"azure"}),
        patterns=("gpt-*", "chatgpt-*", "o[0-9]*", "text-embedding-*", "ft:*"),
    ),
    ModelFamily(
        name="gemini",
        default_model="gemini-2.5-flash",
        kind="gemini",
        patterns=("gemini-*", "gemma-*"),
    ),
    ModelFamily(
        name="mistral",
        default_model="mistral-large-latest",
        kind="mistral",
        patterns=(
            "mistral-*",
            "ministral-*",
            "magistral-*",
            "codestral-*",
            "devstral-*",
            "pixtral-*",
            "voxtral-*",
            "open-m*",
        ),
    ),
    ModelFamily(name="claude", default_model="claude-sonnet-4-5", kind="anthropic", patterns=("claude-*",)),
    ModelFamily(name="deepseek", default_model="deepseek-chat", kind="deepseek", patterns=("deepseek-*",)),
)
FAMILIES: Final[Mapping[str, ModelFamily]] = MappingProxyType({family.name: family for family in _KNOWN})
