"""Which model answers a query, and which ones follow if it fails."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.core.config.accounts import Principal
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.models import Model
from llm_gateway.core.config.providers import Provider
from llm_gateway.core.config.snapshot import Snapshot, build_snapshot
from llm_gateway.core.config.task_types import TaskType
from llm_gateway.core.errors import BadRequest, ModelNotFound
from llm_gateway.infra.price_book.shipped import shipped_price_book
from llm_gateway.providers.registry import KINDS
from llm_gateway.surfaces.query.bodies import Query
from llm_gateway.surfaces.query.choosing import ModelChoice, ModelChooser
from llm_gateway.surfaces.query.families import FamilyIndex
from tests.fakes.in_memory import credential, provider

NOW = 1_790_000_000_000_000
A_OPENAI = provider("openai", 1, model_mapping={"gpt-4o": "gpt-4o"}, price_provider="openai")
A_CLAUDE = provider("claude", 2, model_mapping={"claude-sonnet-4-5": "claude-sonnet-4-5"})
A_GEMINI = provider(
    "gemini", 3, model_mapping={"gemini-2.5-flash": "gemini-2.5-flash"}, price_provider="google"
)
ALL = (A_OPENAI, A_CLAUDE, A_GEMINI)


def snapshot_of(
    *providers: Provider, models: tuple[Model, ...] = (), tasks: tuple[TaskType, ...] = ()
) -> Snapshot:
    catalog = Catalog(version=1, providers=providers, models=models, task_types=tasks)
    return build_snapshot(catalog, KINDS, shipped_price_book())


def choose(
    snapshot: Snapshot, *, allowed: tuple[str, ...] | None = None, needs_prices: bool = False, **fields: Any
) -> ModelChoice:
    account = Principal(credential(allowed_models=allowed))
    chooser = ModelChooser(FamilyIndex(snapshot), account, NOW, needs_prices=needs_prices)
    return chooser.choose(Query(text="x", **fields))


def test_s3_10_a_family_is_followed_by_those_that_are_best_at_the_task() -> None:
    choice = choose(snapshot_of(*ALL), model="gemini")
    assert (choice.model, choice.asked) == ("gemini-2.5-flash", "gemini")
    assert choice.fallbacks == ("gpt-4o", "claude-sonnet-4-5")
    assert [choice.label(model) for model in (choice.model, *choice.fallbacks)] == [
        "gemini",
        "openai",
        "claude",
    ]
    choice = choose(snapshot_of(*ALL), model="gemini", task_type="summarization")
    assert choice.fallbacks == ("claude-sonnet-4-5", "gpt-4o")


def test_s3_2_a_task_without_a_model() -> None:
    choice = choose(snapshot_of(*ALL), task_type="summarization")
    assert (choice.model, choice.asked) == ("claude-sonnet-4-5", "claude")
    assert choice.fallbacks == ("gpt-4o", "gemini-2.5-flash")
    # Only what is served and allowed counts.
    choice = choose(snapshot_of(A_OPENAI, A_GEMINI), task_type="summarization", allowed=("gemini-*",))
    assert (choice.model, choice.asked, choice.fallbacks) == ("gemini-2.5-flash", "gemini", ())


def test_s3_2_the_catalog_s_task_may_name_families_and_models() -> None:
    own = provider("own", 4, model_mapping={"house": "house"})
    task = TaskType(id=1, name="summarization", models=("nobody", "house", "claude", "gpt-4o"))
    choice = choose(snapshot_of(*ALL, own, tasks=(task,)), task_type="summarization")
    assert (choice.model, choice.asked) == ("house", "house")
    assert choice.fallbacks == ("claude-sonnet-4-5", "gpt-4o")


def test_an_administrator_s_fallbacks_come_before_other_families() -> None:
    rules = Model(id=1, name="gpt-4o", fallbacks=("gemini-2.5-flash",))
    choice = choose(snapshot_of(*ALL, models=(rules,)), model="openai")
    assert (choice.model, choice.fallbacks) == ("gpt-4o", None)


def test_a_named_model_and_a_version_have_the_catalog_s_fallbacks() -> None:
    snapshot = snapshot_of(*ALL)
    assert choose(snapshot, model="gpt-4o") == ModelChoice("gpt-4o", "gpt-4o")
    # Whether it exists is for the flow to say.
    assert choose(snapshot, model="nobody") == ModelChoice("nobody", "nobody")
    choice = choose(snapshot, model="openai", model_version="gpt-4o")
    assert (choice.model, choice.asked, choice.fallbacks) == ("gpt-4o", "openai", None)
    assert choose(snapshot, model="gpt-4o", model_version="gpt-4o-mini").model == "gpt-4o-mini"


def test_a_family_that_may_not_be_used_stays_the_choice() -> None:
    choice = choose(snapshot_of(*ALL), model="openai", allowed=("claude-*",))
    assert (choice.model, choice.fallbacks) == ("gpt-4o", None)


def test_a_drained_family_is_answered_for_by_another() -> None:
    drained = provider("openai", 1, model_mapping={"gpt-4o": "gpt-4o"}, weight=0)
    choice = choose(snapshot_of(drained, A_CLAUDE), model="openai")
    assert (choice.model, choice.asked, choice.fallbacks) == ("claude-sonnet-4-5", "openai", ())
    alone = choose(snapshot_of(drained), model="openai")
    assert (alone.model, alone.fallbacks) == ("gpt-4o", ())
    assert choose(snapshot_of(drained)).model == "gpt-4o"


def test_s3_24_with_a_ceiling_alternatives_have_prices() -> None:
    choice = choose(snapshot_of(*ALL), model="openai", needs_prices=True)
    assert choice.fallbacks == ("gemini-2.5-flash",)
    assert choose(snapshot_of(*ALL), task_type="summarization", needs_prices=True).model == "gpt-4o"
    # Where there are none, the flow refuses what cannot be kept.
    assert choose(snapshot_of(A_CLAUDE), needs_prices=True).model == "claude-sonnet-4-5"


def test_without_any_family_the_first_model_that_chats_answers() -> None:
    mapping = {"embed": "nomic-embed", "embeddings": "e", "house": "h", "other": "o"}
    choice = choose(snapshot_of(provider("local", provider_type="ollama", model_mapping=mapping)))
    assert (choice.model, choice.fallbacks) == ("house", ("other",))


def test_nothing_at_all_is_said_with_a_reason() -> None:
    with pytest.raises(ModelNotFound, match="No model is available for this query"):
        choose(snapshot_of())
    with pytest.raises(ModelNotFound, match="for the task type 'summarization'"):
        choose(snapshot_of(), task_type="summarization")
    with pytest.raises(ModelNotFound, match=r"Available are: openai, gemini, claude\.") as caught:
        choose(snapshot_of(*ALL), model="mistral")
    assert caught.value.param == "model"
    with pytest.raises(ModelNotFound, match="No family is available"):
        choose(snapshot_of(), model="mistral")


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"task_type": "dancing"}, "task_type", "Known task types: other, question_answering"),
        ({"model": "claude", "model_version": "gpt-4o"}, "model_version", "of the family 'openai'"),
        ({"model_version": "claude"}, "model_version", "send that as 'model'"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        choose(snapshot_of(*ALL), **fields)
    assert caught.value.param == param


def test_of_many_models_a_few_are_tried() -> None:
    mapping = {f"model-{number}": "up" for number in range(1000)}
    choice = choose(snapshot_of(provider("local", provider_type="ollama", model_mapping=mapping)))
    assert (choice.model, choice.fallbacks) == ("model-0", ("model-1", "model-2", "model-3"))
