"""Export, import, export: a fixed point, whatever the catalog holds; and no bytes make a reader fail."""

from __future__ import annotations

import contextlib
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies as st

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.models import RetryRules, Timeouts
from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.files.contents import FileContents
from llm_gateway.flow.config.files.gateway_reading import price_text
from llm_gateway.flow.config.files.gateway_writing import StoredRows, write_gateway_file
from llm_gateway.flow.config.files.nodes import InvalidConfigFile
from llm_gateway.flow.config.files.reading import read_config_file
from llm_gateway.flow.config.importer import CatalogImporter, ImportResult, stored_rows
from llm_gateway.flow.config.rows.models import ModelUpdate
from llm_gateway.flow.config.rows.prices import PriceUpdate
from llm_gateway.flow.config.rows.providers import ProviderUpdate
from llm_gateway.flow.config.rows.store import CatalogEdit
from llm_gateway.flow.config.rows.task_types import TaskTypeUpdate
from llm_gateway.infra.price_book.shipped import shipped_price_book
from llm_gateway.providers.registry import KINDS
from tests.fakes.stores import Store, opened

# Names that YAML takes for something else, and others that need quotes.
NAMES = st.sampled_from(
    [
        "a",
        "b",
        "gpt-4.1",
        "no",
        "null",
        "1.5e3",
        "~x",
        "a: b",
        "#c",
        "<<",
        "ä✓",
        "- d",
        "'q'",
        "2024-10-21",
        " x ",
    ]
)
MODELS = st.lists(NAMES, max_size=2, unique=True).map(tuple)
SECONDS = st.floats(0.001, 86_400, allow_nan=False)
PRICES = st.decimals(0, 1000, places=6, allow_nan=False).map(price_text)
TIMES = st.none() | st.integers(0, 4_000_000_000_000_000)


def made(update: type[Any], required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(required, optional=optional).map(lambda values: update(**values))


PROVIDERS = st.lists(
    made(
        ProviderUpdate,
        {
            "provider_key": NAMES,
            "provider_type": st.sampled_from(["openai", "anthropic", "ollama"]),
            "api_base": st.sampled_from(["http://x", "https://y.example/v1"]),
            "model_mapping": st.dictionaries(NAMES, NAMES, max_size=3)
            | st.sampled_from([{}, {"*": "*"}, {"g-*": "*", "a": "x"}]),
        },
        {
            "secret": st.sampled_from(
                [None, Secret("env:SET"), Secret("env:UNSET"), Secret("sk-sealed-0123456789")]
            ),
            "weight": st.integers(0, 9),
            "is_enabled": st.booleans(),
            "api_version": st.sampled_from([None, "2024-10-21"]),
            "stream_usage": st.sampled_from([None, True, False]),
            "probe_interval": st.none() | st.floats(1, 86_400),
            "price_provider": st.sampled_from([None, "openai"]),
        },
    ),
    max_size=4,
    unique_by=lambda update: update.provider_key,
)
WITH_TOKENS = ProviderUpdate(
    provider_key="tokens",
    provider_type="openai",
    api_base="http://t",
    secret=Secret("env:SET"),
    model_mapping={"t": "u"},
    oauth2=ClientCredentials(token_url="https://t.example/token", client_id="me", scope="all of it"),
)
RETRY = st.builds(
    RetryRules,
    max_retries=st.none() | st.integers(0, 100),
    backoff_factor=st.none() | st.floats(1, 100),
    jitter=st.none() | st.floats(0, 1),
    retry_cut=st.booleans(),
)
SETTINGS = st.lists(
    made(
        ModelUpdate,
        {"name": NAMES},
        {
            "strategy": st.sampled_from(["least_busy", "weighted_random"]),
            "weights": st.dictionaries(NAMES, st.integers(0, 9), max_size=2),
            "fallbacks": MODELS,
            "context_fallbacks": MODELS,
            "policy_fallbacks": MODELS,
            "timeouts": st.builds(Timeouts, idle=st.none() | SECONDS, total=st.none() | SECONDS),
            "retry": RETRY,
            "affinity": st.sampled_from([None, "user", "header:x-a"]),
            "cache": st.none() | st.builds(CacheRules, is_enabled=st.booleans(), ttl=st.none() | SECONDS),
        },
    ),
    max_size=3,
    unique_by=lambda update: update.name,
)
COSTS = st.lists(
    made(
        PriceUpdate,
        {
            "provider": NAMES,
            "upstream_model": NAMES,
            "prices": st.fixed_dictionaries(
                {"input_tokens": PRICES}, optional={"output_tokens": PRICES, "requests": PRICES}
            ),
        },
        {"valid_from": TIMES},
    ),
    max_size=4,
)
TASKS = st.lists(
    made(TaskTypeUpdate, {"name": NAMES, "models": st.lists(NAMES, min_size=1, max_size=3).map(tuple)}, {}),
    max_size=2,
    unique_by=lambda update: update.name,
)


async def stored(store: Store, contents: FileContents) -> ImportResult:
    importer = CatalogImporter(KINDS, shipped_price_book(), actor="import")

    async def change(edit: CatalogEdit) -> ImportResult:
        return await importer.apply(edit, contents)

    return await store.rows.edit(change)


def read(text: str) -> FileContents:
    return read_config_file(text.encode(), KINDS, environ={}, forbidden_variables=frozenset())


def comparable(rows: StoredRows) -> list[Any]:
    """Return rows without ids and times, and with secrets only where they are exported."""
    found = []
    for row in (*rows.providers, *rows.models, *rows.prices, *rows.task_types):
        values = {name: getattr(row, name) for name in row.__struct_fields__}
        for name in ("id", "created_at", "updated_at"):
            values.pop(name)
        key = values.get("api_key")
        if key is not None and not key.startswith("env:"):
            values["api_key"] = None
        if isinstance(values.get("prices"), dict):
            values["prices"] = {unit: Decimal(price) for unit, price in values["prices"].items()}
        found.append((row.resource, sorted(values.items(), key=lambda item: item[0])))
    # Mappings are equal in any order of their names.
    return sorted(
        found, key=lambda one: repr((one[0], [(n, v) for n, v in one[1] if not isinstance(v, dict)]))
    )


def _without_itself(update: ModelUpdate) -> ModelUpdate:
    values: dict[str, Any] = {
        name: tuple(one for one in value if one != update.name) if name.endswith("fallbacks") else value
        for name, value in update.given().items()
    }
    return ModelUpdate(**values)


@hypothesis.given(PROVIDERS, SETTINGS, COSTS, TASKS, st.booleans())
@hypothesis.settings(max_examples=15)
async def test_export_import_export_is_a_fixed_point(
    providers: list[ProviderUpdate],
    models: list[ModelUpdate],
    prices: list[PriceUpdate],
    tasks: list[TaskTypeUpdate],
    with_tokens: bool,
) -> None:
    # A model is no fallback of its own, which is a fault.
    models = [_without_itself(update) for update in models]
    updates: tuple[Any, ...] = (*providers, *([WITH_TOKENS] if with_tokens else []), *models, *prices, *tasks)
    environ = {"SET": "sk-set"}
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        async with (
            opened(None, Path(one), environ=environ) as first,
            opened(None, Path(two), environ=environ) as second,
        ):
            await stored(first, FileContents(format="gateway", updates=updates))
            rows = await stored_rows(first.rows)
            text = write_gateway_file(rows).text
            assert "sk-sealed" not in text
            contents = read(text)
            # Into the same catalog: nothing is left to do.
            assert {row.action for row in (await stored(first, contents)).rows} <= {"unchanged"}
            # Into an empty one: the same rows, and the same file.
            await stored(second, contents)
            again = await stored_rows(second.rows)
            assert comparable(again) == comparable(rows)
            assert write_gateway_file(again).text == text


@hypothesis.given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    "providers models prices task_types model_list litellm_params model_name model api_key api_base"
                    " base_url router_settings fallbacks model_group_alias provider weights timeouts cache".split()
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_any_shape_is_read_or_refused(document: object) -> None:
    import yaml

    with contextlib.suppress(InvalidConfigFile):
        read(yaml.safe_dump(document))


@hypothesis.given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(InvalidConfigFile):
        read_config_file(data, KINDS, environ={}, forbidden_variables=frozenset())
