"""The catalog as a file: nothing but what differs from the defaults, and never a secret."""

from __future__ import annotations

from msgspec import UNSET

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.models import RetryRules, Timeouts
from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.flow.config.files.gateway_writing import StoredRows, write_gateway_file
from llm_gateway.flow.config.rows.models import StoredModel
from llm_gateway.flow.config.rows.prices import StoredPrice
from llm_gateway.flow.config.rows.providers import StoredProvider
from llm_gateway.flow.config.rows.task_types import StoredTaskType

STAMPS = {"created_at": 1, "updated_at": 1}


def provider(number: int, key: str, **fields: object) -> StoredProvider:
    values: dict[str, object] = {
        "provider_type": "openai",
        "api_base": "http://x",
        "api_key": None,
        "model_mapping": {},
        "weight": 1,
        "is_enabled": True,
    }
    return StoredProvider(id=number, provider_key=key, **STAMPS, **{**values, **fields})  # type: ignore[arg-type]


def model(name: str, **fields: object) -> StoredModel:
    values: dict[str, object] = {
        "strategy": "weighted_round_robin",
        "weights": {},
        "fallbacks": (),
        "context_fallbacks": (),
        "policy_fallbacks": (),
        "timeouts": Timeouts(),
        "retry": RetryRules(),
        "affinity": None,
        "cache": None,
    }
    return StoredModel(id=1, name=name, **STAMPS, **{**values, **fields})  # type: ignore[arg-type]


def price(number: int, **fields: object) -> StoredPrice:
    values: dict[str, object] = {"provider": "a", "upstream_model": "x", "prices": {"input_tokens": "2.50"}}
    return StoredPrice(id=number, **STAMPS, **{**values, **fields})  # type: ignore[arg-type]


def test_the_core_is_the_format_of_the_older_gateway() -> None:
    rows = StoredRows(
        providers=(provider(1, "a", api_key="env:A_KEY", model_mapping={"m": "x", "gpt-*": "*"}),),
        prices=(price(1, prices={"input_tokens": "0.15", "output_tokens": "10"}),),
    )
    written = write_gateway_file(rows)
    assert written.findings == ()
    assert written.text == (
        "providers:\n  a:\n    provider_type: openai\n    base_url: http://x\n    api_key_env: A_KEY\n"
        "    model_mapping:\n      gpt-*: '*'\n"
        "models:\n  m:\n    provider: a\n    physical_name: x\n    cost_per_1k_prompt: 0.00015\n"
        "    cost_per_1k_completion: 0.01\n"
    )


def test_names_of_several_providers_stay_in_their_mappings() -> None:
    rows = StoredRows(
        providers=(provider(1, "a", model_mapping={"m": "x"}), provider(2, "b", model_mapping={"m": "y"}))
    )
    text = write_gateway_file(rows).text
    assert "models:" not in text
    assert text.count("model_mapping:") == 2


def test_other_prices_are_written_as_they_are() -> None:
    rows = StoredRows(
        providers=(provider(1, "a", model_mapping={"m": "x"}),),
        prices=(price(1), price(2, valid_from=0, valid_until=86_400_000_000)),
    )
    text = write_gateway_file(rows).text
    assert "cost_per_1k" not in text
    assert "input_tokens: '2.5'" in text
    assert "valid_from: '1970-01-01T00:00:00Z'\n  valid_until: '1970-01-02T00:00:00Z'" in text


def test_a_sealed_secret_is_left_out_with_a_finding() -> None:
    written = write_gateway_file(StoredRows(providers=(provider(1, "a", api_key="***abcd"),)))
    assert "abcd" not in written.text
    assert [finding.path for finding in written.findings] == ["providers.a.api_key"]
    assert "api_key_env" in written.findings[0].message


def test_settings_that_differ_from_the_defaults() -> None:
    rows = StoredRows(
        providers=(
            provider(
                1,
                "a",
                weight=0,
                is_enabled=False,
                oauth2=ClientCredentials(token_url="https://t", client_id="me"),
                probe_interval=2.5,
                model_mapping={"m": "x"},
            ),
        ),
        models=(
            model(
                "m", fallbacks=("n",), timeouts=Timeouts(idle=3), cache=CacheRules(ttl=60), weights={"a": 2}
            ),
            model("n"),
        ),
        task_types=(StoredTaskType(id=1, name="t", models=("m", "n"), **STAMPS),),
    )
    text = write_gateway_file(rows).text
    for line in (
        "weight: 0",
        "is_enabled: false",
        "probe_interval: 2.5",
        "client_id: me",
        "idle: 3",
        "ttl: 60",
    ):
        assert line in text
    # A row without anything of its own is a row.
    assert "  n:\n    strategy: weighted_round_robin\n" in text
    assert "task_types:\n  t:\n  - m\n  - n\n" in text


def test_what_cannot_be_read_is_a_finding() -> None:
    rows = StoredRows(
        providers=(provider(1, "a", model_mapping=UNSET),), prices=(price(3, valid_until=2**63 - 1),)
    )
    paths = [finding.path for finding in write_gateway_file(rows).findings]
    assert paths == ["provider 'a': model_mapping", "price 3 'a/x': valid_until"]


def test_an_empty_catalog_is_a_file_too() -> None:
    assert write_gateway_file(StoredRows()).text == "providers: {}\n"
