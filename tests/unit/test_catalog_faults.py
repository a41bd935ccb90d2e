"""A fault of a model, a task type or a provider's newer fields starts with the field and repeats no secret."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.models import Model, RetryRules, Timeouts, model_faults
from llm_gateway.core.config.providers import ClientCredentials, Kind, Provider, provider_faults
from llm_gateway.core.config.task_types import TaskType, task_type_faults
from llm_gateway.core.config.validation import catalog_faults
from llm_gateway.core.secret import Secret

KINDS = {"openai": Kind(name="openai")}
NAN = float("nan")


def provider(**fields: Any) -> Provider:
    given: dict[str, Any] = {
        "id": 1,
        "provider_key": "p",
        "provider_type": "openai",
        "api_base": "https://h",
        "secret": Secret("s"),
    }
    return Provider(**given | fields)


def oauth2(**fields: Any) -> ClientCredentials:
    given = {"token_url": "https://login.example/token?tenant=1", "client_id": "me"}
    return ClientCredentials(**given | fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"strategy": "weighted_random", "weights": {"gone": 0, "p": 5}},
        {"fallbacks": ("nobody/serves:this",), "context_fallbacks": ("x",), "policy_fallbacks": ("x", "y")},
        {"timeouts": Timeouts(connect=0.001, first_content=86_400, idle=1, total=60)},
        {
            "retry": RetryRules(
                max_retries=0, initial_backoff_ms=0, max_backoff_ms=0, backoff_factor=1, jitter=0
            )
        },
        {"retry": RetryRules(max_retries=100, backoff_factor=100, jitter=1)},
        {"affinity": "user"},
        {"affinity": "prompt_cache_key"},
        {"affinity": "header:X-Session-Id"},
        {"cache": CacheRules()},
        {"cache": CacheRules(ttl=0.5)},
    ],
)
def test_a_good_model_has_no_fault(fields: dict[str, Any]) -> None:
    assert model_faults(Model(id=1, name="m", **fields)) == []


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": ""}, "name must be one model's name"),
        ({"name": "gpt-*"}, "name must be one model's name"),
        ({"name": "gpt-[45]"}, "name must be one model's name"),
        (
            {"strategy": "fastest"},
            "strategy must be one of: weighted_round_robin, weighted_random, least_busy",
        ),
        ({"weights": {"a": 1, "b": -1}}, "weights['b'] must be 0 or more"),
        ({"fallbacks": ("a", "m")}, "fallbacks must not hold the model itself"),
        ({"context_fallbacks": ("m",)}, "context_fallbacks must not hold the model itself"),
        ({"policy_fallbacks": ("m",)}, "policy_fallbacks must not hold the model itself"),
        ({"fallbacks": ("a", "")}, "fallbacks must be names of models"),
        ({"policy_fallbacks": ("a?",)}, "policy_fallbacks must be names of models"),
        ({"timeouts": Timeouts(connect=0)}, "timeouts.connect must be more than 0"),
        ({"timeouts": Timeouts(first_content=-1)}, "timeouts.first_content must be more than 0"),
        ({"timeouts": Timeouts(idle=86_401)}, "timeouts.idle must be more than 0 and at most 86400 seconds"),
        ({"timeouts": Timeouts(total=NAN)}, "timeouts.total must be"),
        ({"retry": RetryRules(max_retries=-1)}, "retry.max_retries must be 0 to 100"),
        ({"retry": RetryRules(max_retries=101)}, "retry.max_retries must be 0 to 100"),
        ({"retry": RetryRules(initial_backoff_ms=-1)}, "retry.initial_backoff_ms must be 0 to 3600000"),
        ({"retry": RetryRules(max_backoff_ms=3_600_001)}, "retry.max_backoff_ms must be 0 to 3600000"),
        ({"retry": RetryRules(backoff_factor=0.9)}, "retry.backoff_factor must be 1 to 100"),
        ({"retry": RetryRules(jitter=1.01)}, "retry.jitter must be 0 to 1"),
        ({"affinity": ""}, "affinity must be user, prompt_cache_key or header:"),
        ({"affinity": "header:"}, "affinity must be"),
        ({"affinity": "header:a b"}, "affinity must be"),
        ({"affinity": "header:x\n"}, "affinity must be"),
        ({"affinity": "users"}, "affinity must be"),
        ({"cache": CacheRules(ttl=0)}, "cache.ttl must be more than 0"),
        ({"cache": CacheRules(ttl=4e9)}, "cache.ttl must be more than 0 and at most 31536000 seconds"),
    ],
)
def test_a_models_fault_starts_with_its_field(fields: dict[str, Any], says: str) -> None:
    given: dict[str, Any] = {"id": 1, "name": "m"}
    (fault,) = model_faults(Model(**given | fields))
    assert fault.message.startswith(says)
    assert fault.message.startswith(fault.field)
    assert (fault.resource, fault.row) == ("model", fields.get("name", "m"))


def test_a_task_type_names_a_model_at_least() -> None:
    assert task_type_faults(TaskType(id=1, name="t", models=("nobody-serves-it",))) == []
    assert task_type_faults(TaskType(id=1, name="t", models=())) == [
        Fault("task type", "t", "models", "models must name one model at least")
    ]
    assert [fault.message for fault in task_type_faults(TaskType(id=1, name="", models=("a*",)))] == [
        "name must not be empty",
        "models must be names of models, without * ? [",
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"oauth2": oauth2()},
        {"oauth2": oauth2(token_url="http://127.0.0.1:9/t", scope="a b")},
        {"oauth2": oauth2(), "secret": None, "is_enabled": False},
        {"api_version": "2024-10-21"},
        {"api_version": "preview"},
        {"probe_interval": 1},
        {"probe_interval": 86_400.0},
        {"stream_usage": False},
    ],
)
def test_good_newer_fields_of_a_provider(fields: dict[str, Any]) -> None:
    assert provider_faults(provider(**fields), KINDS) == []


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"oauth2": oauth2(token_url="ftp://x/t")}, "oauth2.token_url must be a URL that starts with http"),
        ({"oauth2": oauth2(token_url="")}, "oauth2.token_url must be a URL that starts with http"),
        ({"oauth2": oauth2(token_url="https://me:hunter2@x/t")}, "oauth2.token_url must hold no user name"),
        ({"oauth2": oauth2(token_url="https://x/hunter2 ")}, "oauth2.token_url must hold no spaces"),
        ({"oauth2": oauth2(token_url="https://x/t#hunter2")}, "oauth2.token_url must hold no fragment"),
        ({"oauth2": oauth2(client_id="")}, "oauth2.client_id must be given"),
        ({"oauth2": oauth2(), "secret": None}, "api_key must be given along with oauth2"),
        ({"api_version": ""}, "api_version must be letters"),
        ({"api_version": "a&b=c"}, "api_version must be letters"),
        ({"probe_interval": 0.9}, "probe_interval must be 1 to 86400 seconds"),
        ({"probe_interval": 1e9}, "probe_interval must be 1 to 86400 seconds"),
        ({"probe_interval": NAN}, "probe_interval must be 1 to 86400 seconds"),
    ],
)
def test_bad_newer_fields_of_a_provider_are_named_and_their_secrets_are_not(
    fields: dict[str, Any], says: str
) -> None:
    (fault,) = provider_faults(provider(**fields), KINDS)
    assert fault.message.startswith(says)
    assert fault.message.startswith(fault.field)
    assert "hunter2" not in str(fault)


def test_every_fault_names_its_row() -> None:
    catalog = Catalog(
        version=1,
        providers=(provider(probe_interval=0.0),),
        credentials=(Credential(id=1, name="c", key_hash=b"x", cache=CacheRules(ttl=0)),),
        models=(Model(id=1, name="m"), Model(id=2, name="m", affinity="x")),
        task_types=(TaskType(id=1, name="t", models=()), TaskType(id=2, name="t", models=("m",))),
        faults=(Fault("model", "z", "weights", "weights must be an object"),),
    )
    starts = [str(fault).split(" must")[0] for fault in catalog_faults(catalog, KINDS)]
    assert starts == [
        "model 'z': weights",
        "provider 'p': probe_interval",
        "credential 'c': cache.ttl",
        "model 'm': name is used twice",
        "model 'm': affinity",
        "task type 't': name is used twice",
        "task type 't': models",
    ]
