"""Families: which providers and models they have, and which model stands for them."""

from __future__ import annotations

import pytest

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.providers import Provider
from llm_gateway.core.config.snapshot import Snapshot, build_snapshot
from llm_gateway.core.model_families import FAMILIES
from llm_gateway.infra.price_book.shipped import shipped_price_book
from llm_gateway.providers.registry import KINDS
from llm_gateway.surfaces.query.families import (
    DEFAULT_TASK,
    DEFAULT_TASKS,
    FamilyIndex,
    family_of_model,
    is_chat_model,
    is_of_family,
    model_of_version,
)
from tests.fakes.in_memory import provider

OPENAI = FAMILIES["openai"]


def snapshot(*providers: Provider) -> Snapshot:
    return build_snapshot(Catalog(version=1, providers=providers), KINDS)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_s3_1_a_family_s_default_model_is_its_own_and_has_a_price(family: object) -> None:
    known = FAMILIES[getattr(family, "name", "")]
    assert family_of_model(known.default_model) == known.name
    kinds = {known.kind, *known.other_kinds}
    assert kinds <= KINDS.keys()
    assert KINDS[known.kind].price_provider is not None
    prices = [KINDS[kind].price_provider for kind in kinds]
    models = [shipped_price_book().schedule(name, known.default_model).model for name in prices if name]
    assert any(models)


def test_s3_2_every_default_task_names_every_family_once() -> None:
    for names in DEFAULT_TASKS.values():
        assert sorted(names) == sorted(FAMILIES)
    assert DEFAULT_TASK in DEFAULT_TASKS


def test_the_family_s_own_name_comes_first_then_its_default_then_what_its_providers_list() -> None:
    mapping = {"gpt-4o-mini": "gpt-4o-mini", "text-embedding-3-small": "text-embedding-3-small"}
    one = provider("a", model_mapping=mapping)
    assert list(FamilyIndex(snapshot(one)).models(OPENAI)) == ["gpt-4o-mini"]
    two = provider("b", 2, model_mapping={"gpt-4o": "gpt-4o"})
    assert list(FamilyIndex(snapshot(one, two)).models(OPENAI)) == ["gpt-4o", "gpt-4o-mini"]
    three = provider("c", 3, model_mapping={"openai": "gpt-5"})
    assert FamilyIndex(snapshot(one, two, three)).models(OPENAI)[0] == "openai"


def test_a_provider_that_serves_any_name_serves_the_default() -> None:
    everything = provider("a", provider_type="openrouter", model_mapping={})
    assert list(FamilyIndex(snapshot(everything)).models(FAMILIES["claude"])) == ["claude-sonnet-4-5"]
    # The name of a family is not a model that it has.
    assert list(FamilyIndex(snapshot(provider("openai", model_mapping={}))).models(OPENAI)) == ["gpt-4o"]
    assert list(FamilyIndex(snapshot()).models(OPENAI)) == []


def test_a_provider_is_of_a_family_by_its_key_or_else_by_its_kind() -> None:
    served = snapshot(
        provider("mine", 1),
        provider("claude", 2),
        provider("off", 3, provider_type="anthropic", is_enabled=False),
        provider("real", 4, provider_type="anthropic"),
    )
    found = {
        name: [one.provider.provider_key for one in served.providers if is_of_family(one, family)]
        for name, family in FAMILIES.items()
    }
    assert found == {
        "openai": ["mine"],
        "gemini": [],
        "mistral": [],
        "claude": ["claude", "real"],
        "deepseek": [],
    }


def test_other_makers_models_at_a_server_of_openai_s_kind_do_not_stand_for_openai() -> None:
    mapping = {"sonnet": "claude-sonnet-4-5", "own": "house-model"}
    assert list(FamilyIndex(snapshot(provider("a", model_mapping=mapping))).models(OPENAI)) == ["own"]


def test_s3_21_a_version_is_a_public_model_or_what_a_provider_calls_it() -> None:
    served = snapshot(
        provider("a", model_mapping={"fast": "gpt-4o-mini"}),
        provider("b", 2, provider_type="anthropic", model_mapping={"haiku": "claude-haiku-4-5"}),
    )
    assert model_of_version(served, OPENAI, "gpt-4o-mini") == "fast"
    assert model_of_version(served, None, "claude-haiku-4-5") == "haiku"
    assert model_of_version(served, OPENAI, "claude-haiku-4-5") == "claude-haiku-4-5"
    assert model_of_version(served, None, "fast") == "fast"
    assert model_of_version(served, None, "unknown") == "unknown"
    # A glob serves it under its own name.
    seeded = snapshot(provider("openai", model_mapping={"openai": "gpt-4o", "gpt-*": "*"}))
    assert model_of_version(seeded, OPENAI, "gpt-4o") == "gpt-4o"


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-4o", "openai"),
        ("o3-mini", "openai"),
        ("ministral-8b", "mistral"),
        ("llama3", None),
        ("opus", None),
    ],
)
def test_models_have_families_by_their_names(model: str, family: str | None) -> None:
    assert family_of_model(model) == family


def test_models_that_do_not_chat_are_known_by_their_names() -> None:
    assert is_chat_model("gpt-4o")
    assert not any(map(is_chat_model, ("text-embedding-3-small", "whisper-1", "gpt-image-1", "Nomic-Embed")))
