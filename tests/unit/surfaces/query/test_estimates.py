"""Estimates as clients of the query gateway get them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.surfaces.query.bodies import Query
from llm_gateway.surfaces.query.choosing import ModelChoice
from llm_gateway.surfaces.query.estimates import cost_estimate, dry_run, usd, whole_estimate

CHOICE = ModelChoice("gpt-4o", "openai", (), {"gpt-4o": "openai"})
SHOWN: dict[str, Any] = {
    "object": "cost_estimate",
    "model": "gpt-4o",
    "provider": "p",
    "upstream_model": "gpt-4o-2024-08-06",
    "prompt_tokens": 8,
    "prompt_tokens_source": "counted",
    "completion_tokens": 100,
    "completion_tokens_source": "limit",
    "max_completion_tokens": 100,
    "unpriced": None,
    "unbounded": None,
    "price_source": "catalog",
    "price_version": "1",
    "priced": True,
    "cost_usd": "0.00102",
    "max_cost_usd": "0.0011",
}


def encoded(fields: dict[str, Any]) -> str:
    return msgspec.json.encode(fields).decode()


def test_s3_22_amounts_are_exact_numbers() -> None:
    text = encoded(cost_estimate(SHOWN))
    assert '"estimated_cost_usd":0.00102,' in text
    assert '"highest_cost_usd":0.0011,' in text
    assert msgspec.json.decode(text)["total_tokens"] == 108
    assert [bytes(usd(amount)) for amount in (0, 1, None)] == [b"0", b"0.000000001", b"null"]


def test_s3_22_what_is_not_known_is_null_with_the_reason() -> None:
    unknown = SHOWN | {
        "cost_usd": None,
        "max_cost_usd": None,
        "unpriced": "unknown_model",
        "unbounded": "why",
    }
    fields = msgspec.json.decode(encoded(cost_estimate(unknown)))
    assert (fields["estimated_cost_usd"], fields["highest_cost_usd"]) == (None, None)
    assert (fields["unpriced"], fields["unbounded"]) == ("unknown_model", "why")
    unlimited = cost_estimate(unknown | {"max_completion_tokens": None})
    assert unlimited["unbounded"] == "nothing limits the answer: send max_tokens or max_cost_usd"


def test_s3_22_an_estimate_names_the_model_as_the_client_does() -> None:
    fields = whole_estimate(SHOWN, Query(text="x", task_type="other"), CHOICE, "mine")
    assert (fields["model"], fields["model_version"]) == ("openai", "gpt-4o-2024-08-06")
    assert (fields["provider"], fields["task_type"], fields["request_id"]) == ("p", "other", "mine")


@pytest.mark.parametrize(
    ("ceiling", "highest", "within"),
    [
        (None, None, True),
        (None, "9", True),
        ("1", "1", True),
        ("1", "1.000000001", False),
        ("1", None, False),
    ],
)
def test_s3_23_a_dry_run_says_whether_the_ceiling_would_hold(
    ceiling: str | None, highest: str | None, within: bool
) -> None:
    query = Query(text="x", max_cost_usd=ceiling, tenant="t")
    fields = dry_run(SHOWN | {"max_cost_usd": highest}, query, CHOICE, "mine")
    assert (fields["within_budget"], fields["dry_run"], fields["valid"]) == (within, True, True)
    assert bytes(fields["max_cost_usd"]) == (ceiling or "null").encode()
