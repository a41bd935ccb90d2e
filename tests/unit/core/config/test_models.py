"""A fault of a model names its field and starts with it."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.models import Model, RetryRules, Timeouts, model_faults

NAN = float("nan")


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
