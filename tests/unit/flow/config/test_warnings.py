"""What rows refer to in vain is a warning and no fault."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.core.config.accounts import Project, Tenant
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.providers import Kind, Provider
from llm_gateway.core.config.snapshot import Snapshot, build_snapshot
from llm_gateway.flow.config.warnings import budget_warnings, model_warnings

KINDS = {"openai": Kind(name="openai")}


def provider(number: int, model_mapping: dict[str, str]) -> Provider:
    return Provider(
        id=number,
        provider_key=f"p{number}",
        provider_type="openai",
        api_base="http://127.0.0.1:9/v1",
        model_mapping=model_mapping,
    )


def snapshot(*providers: Provider, **rows: Any) -> Snapshot:
    return build_snapshot(Catalog(version=3, providers=providers, **rows), KINDS)


def test_what_a_model_refers_to_in_vain_is_a_warning_and_no_fault() -> None:
    of = snapshot(provider(1, {"m": "m"}), provider(2, {"n*": "*"}))
    none = {"fallbacks": (), "context_fallbacks": ()}
    assert model_warnings(of, "m", {"p1": 0}, none) == []
    assert model_warnings(of, "x", {"p1": 1, "gone": 2}, {"fallbacks": ("m", "n1", "y")}) == [
        "name: no enabled provider serves this model",
        "weights: provider 'p1' does not serve this model",
        "weights: there is no enabled provider 'gone'",
        "fallbacks: no enabled provider serves 'y'",
    ]


OWNERS: dict[str, Any] = {
    "credentials": (Credential(id=1, name="c", key_hash=b"c"),),
    "tenants": (Tenant(id=1, name="t"),),
    "projects": (Project(id=1, name="p"),),
}


@pytest.mark.parametrize(
    ("scope", "subject"), [("credential", "c"), ("tenant", "t"), ("project", "p"), ("all", None)]
)
def test_a_budget_whose_subject_exists_has_no_warning(scope: str, subject: str | None) -> None:
    assert budget_warnings(snapshot(**OWNERS), scope, subject, ()) == []


@pytest.mark.parametrize("scope", ["credential", "tenant", "project"])
def test_a_budget_without_its_subject_is_warned_of(scope: str) -> None:
    assert budget_warnings(snapshot(**OWNERS), scope, "x", ()) == [f"subject: there is no {scope} 'x'"]


@pytest.mark.parametrize("scope", ["agent", "user"])
def test_a_budget_of_names_that_nobody_is_trusted_with_is_warned_of(scope: str) -> None:
    (warning,) = budget_warnings(snapshot(**OWNERS), scope, None, ())
    assert warning.startswith("scope: no credential has trusts_attribution")
    trusted = Credential(id=1, name="c", key_hash=b"c", trusts_attribution=True)
    assert budget_warnings(snapshot(credentials=(trusted,)), scope, "x", ()) == []


def test_a_model_of_a_budget_that_nobody_serves_is_warned_of() -> None:
    of = snapshot(provider(1, {"m": "m"}))
    assert budget_warnings(of, "all", None, ("m", "gone", "any-*")) == [
        "models: no enabled provider serves 'gone'"
    ]


@pytest.mark.parametrize("name", ["surface:ping", "surface:agents"])
def test_the_account_of_a_surface_is_there_without_a_row(name: str) -> None:
    assert budget_warnings(snapshot(), "credential", name, ()) == []
