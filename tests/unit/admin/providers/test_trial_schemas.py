"""The result of a provider's test is shown field by field, and so is its list of models."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from llm_gateway.admin.providers.trial_schemas import TrialOutcome, TrialRequest, offered, outcome_of
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.flow.ports.listeners import ProviderTest
from llm_gateway.flow.provider_checks.trials import OfferedModel


def test_a_request_may_be_empty_or_name_a_model() -> None:
    assert TrialRequest.model_validate({}).model is None
    assert TrialRequest.model_validate({"model": "gpt-4o"}).model == "gpt-4o"


@pytest.mark.parametrize("body", [{"modell": "x"}, {"model": ""}, {"model": 5}, {"model": "a\n"}, []])
def test_a_bad_request_is_rejected(body: Any) -> None:
    with pytest.raises(ValidationError):
        TrialRequest.model_validate(body)


def test_a_passed_test_is_shown_with_the_three_token_counts() -> None:
    usage = Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5, cached_tokens=1)
    test = ProviderTest(
        provider="main", ok=True, latency_ms=1.5, model="gpt-4o", status=200, text="OK.", usage=usage
    )
    assert outcome_of(test).model_dump() == {
        "ok": True,
        "provider": "main",
        "model": "gpt-4o",
        "status": 200,
        "latency_ms": 1.5,
        "text": "OK.",
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "error": None,
        "advice": None,
    }


def test_a_failed_test_is_shown_with_its_error_and_advice() -> None:
    test = ProviderTest(provider="main", ok=False, latency_ms=0.0, error="no connection", advice="Check it.")
    assert outcome_of(test) == TrialOutcome(
        ok=False,
        provider="main",
        model=None,
        status=None,
        latency_ms=0.0,
        text=None,
        usage=None,
        error="no connection",
        advice="Check it.",
    )


def test_offered_models_keep_the_providers_order() -> None:
    models = [
        OfferedModel(name="z", served_as=("fast", "gpt-*")),
        OfferedModel(name="a", served_as=()),
    ]
    assert offered(models).model_dump() == {
        "data": [{"id": "z", "served_as": ["fast", "gpt-*"]}, {"id": "a", "served_as": []}]
    }
    assert offered([]).model_dump() == {"data": []}
