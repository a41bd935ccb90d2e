"""What the words of usage rows mean."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from llm_gateway.console import meanings
from llm_gateway.core.ledger.records import CostSource, NextStep, Outcome
from llm_gateway.core.pricing.cost import UnknownCost
from llm_gateway.core.routing.circuit_breaker import State
from llm_gateway.core.routing.retry import Reason
from llm_gateway.flow.explain import answer
from tests.fakes.usage_records import failed_attempt, record


def test_every_word_has_a_meaning() -> None:
    assert meanings.OUTCOME_STYLES.keys() == {*get_args(Outcome)}
    assert meanings.NEXT_STEPS.keys() == {*get_args(NextStep)}
    assert meanings.COST_SOURCES.keys() == {*get_args(CostSource)}
    assert meanings.UNPRICED.keys() == {*get_args(UnknownCost)}
    assert meanings.OMISSIONS.keys() == {*get_args(answer.Reason)}
    assert meanings.BREAKER_STYLES.keys() == {*get_args(State)}
    assert meanings.ROLES.keys() == {*get_args(answer.Role)}
    assert meanings.REASONS.keys() >= {*get_args(Reason)}


def test_explained_errors_exist() -> None:
    """The table of codes in the documents has them, but for those that no client gets."""
    table = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    documented = {
        *re.findall(r"`([a-z_]+)`", "\n".join(re.findall(r"^\| (`.*?) \| \d", table, re.MULTILINE)))
    }
    assert meanings.ERRORS.keys() - documented == {"client_left", "shutdown", "interrupted"}


def test_remedies_are_of_errors_that_exist() -> None:
    assert meanings.REMEDIES.keys() | meanings.OF_CREDENTIAL <= meanings.ERRORS.keys()


def test_an_error_is_explained_even_if_its_code_is_the_providers_own() -> None:
    assert meanings.error_meaning(record("r")) is None
    timed_out = meanings.error_meaning(record("r", error_type="upstream_timeout"))
    assert timed_out is not None
    assert "in time" in timed_out
    assert "provider's own" in str(meanings.error_meaning(record("r", error_type="string_above_max_length")))
    assert "before it asked" in str(meanings.error_meaning(record("r", error_type="new", attempts=0)))


def test_a_reason_is_that_of_the_attempt_or_of_the_request() -> None:
    assert meanings.reason_meaning(failed_attempt("r", reason=None)) is None
    assert meanings.reason_meaning(failed_attempt("r", reason="cut")) == "the connection was cut"
    assert (
        meanings.reason_meaning(failed_attempt("r", reason="upstream_cut")) == meanings.ERRORS["upstream_cut"]
    )
    assert meanings.reason_meaning(failed_attempt("r", reason="x" * 999)) == "x" * 200


def test_tokens_may_have_two_sources() -> None:
    assert meanings.usage_source_meaning(None) is None
    assert meanings.usage_source_meaning("provider") == "stated by the provider"
    both = meanings.usage_source_meaning("provider/counted")
    assert both == "prompt stated by the provider; completion counted by the gateway"
