"""A faulty row takes nothing down with it, and admits nobody."""

from __future__ import annotations

import pytest

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.models import Model, RetryRules
from llm_gateway.core.config.prices import PriceOverride
from llm_gateway.core.config.providers import Kind, Provider
from llm_gateway.core.config.snapshot import Snapshot, build_usable_snapshot
from llm_gateway.core.config.task_types import TaskType
from tests.fakes.price_books import price_book

KINDS = {"openai": Kind(name="openai")}


def provider(row_id: int, **fields: object) -> Provider:
    values: dict[str, object] = {
        "id": row_id,
        "provider_key": f"p{row_id}",
        "provider_type": "openai",
        "api_base": "http://127.0.0.1:9/v1",
        "model_mapping": {f"m{row_id}": "x"},
        **fields,
    }
    return Provider(**values)  # type: ignore[arg-type]


def build(before: Snapshot | None = None, **rows: object) -> Snapshot:
    return build_usable_snapshot(Catalog(version=2, **rows), KINDS, before)  # type: ignore[arg-type]


SECRET = (Fault("provider", "p1", "api_key", "environment variable X is not set", 1),)


@pytest.mark.parametrize(
    ("broken", "faults"),
    [
        (provider(1, api_base="nonsense"), ()),
        (provider(1, api_base="http://[::1/v1"), ()),
        (provider(1, provider_type="nonsense"), ()),
        (provider(1, weight=-1), ()),
        (provider(1, probe_interval=0), ()),
        (provider(1), SECRET),
    ],
)
def test_a_faulty_provider_is_left_out_and_its_models_are_still_known(
    broken: Provider, faults: tuple[Fault, ...]
) -> None:
    snapshot = build(providers=(broken, provider(2)), faults=faults)
    assert [each.provider.id for each in snapshot.providers] == [2]
    assert {fault.row for fault in snapshot.faults} == {"p1"}
    assert snapshot.explicit_models == ("m2",)
    route = snapshot.route("m1")
    if broken.provider_type in KINDS:
        assert route is not None
        assert route.deployments == ()
        assert [each.provider.provider_key for each in snapshot.left_out] == ["p1"]
    else:
        assert route is None


def test_a_model_that_others_serve_too_goes_on() -> None:
    rows = (provider(1, api_base="nonsense"), provider(2, model_mapping={"m1": "y"}))
    route = build(providers=rows).route("m1")
    assert route is not None
    assert [one.provider_key for one in route.deployments] == ["p2"]


def test_a_catch_all_that_is_left_out_knows_every_model_and_serves_none() -> None:
    snapshot = build(providers=(provider(1, api_base="nonsense", model_mapping={}), provider(2)))
    route = snapshot.route("anything")
    assert route is not None
    assert route.deployments == ()


def test_a_mapping_that_cannot_be_read_is_not_taken_for_a_catch_all() -> None:
    fault = Fault("provider", "p1", "model_mapping", "model_mapping must be an object", 1)
    snapshot = build(providers=(provider(1, model_mapping={}), provider(2)), faults=(fault,))
    assert snapshot.route("anything") is None
    assert snapshot.left_out == ()


def test_a_faulty_provider_stays_whole_as_it_was() -> None:
    was = provider(1, weight=3)
    before = build(providers=(was, provider(2)))
    snapshot = build(
        before, providers=(provider(1, weight=7, provider_key="renamed"), provider(2)), faults=SECRET
    )
    assert [each.provider for each in snapshot.providers] == [was, provider(2)]
    assert snapshot.kept == ("provider 'renamed'",)
    # And on through the next load.
    again = build(snapshot, providers=(provider(1, api_base="worse"), provider(2)))
    assert again.by_key["p1"].provider == was


@pytest.mark.parametrize(
    "stored",
    [
        provider(1, api_base="nonsense", is_enabled=False),
        provider(1, api_base="nonsense", provider_key="x", is_enabled=False),
    ],
)
def test_a_faulty_provider_that_is_disabled_does_not_stay(stored: Provider) -> None:
    before = build(providers=(provider(1),))
    assert build(before, providers=(stored,)).providers == ()


def test_a_faulty_provider_that_is_drained_stays_drained() -> None:
    before = build(providers=(provider(1),))
    snapshot = build(before, providers=(provider(1, api_base="nonsense", weight=0),))
    assert [each.provider.weight for each in snapshot.providers] == [0]


def test_a_faulty_provider_whose_name_went_to_another_row_does_not_stay() -> None:
    before = build(providers=(provider(1),))
    rows = (provider(1, provider_key="old", api_base="nonsense"), provider(2, provider_key="p1"))
    assert [each.provider.id for each in build(before, providers=rows).providers] == [2]


def credential(row_id: int, **fields: object) -> Credential:
    values: dict[str, object] = {"id": row_id, "name": "same", "key_hash": b"%d" % row_id, **fields}
    return Credential(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("with_before", [False, True])
def test_a_faulty_credential_is_refused_and_its_namesake_is_not(with_before: bool) -> None:
    before = build(credentials=(credential(1), credential(2))) if with_before else None
    snapshot = build(before, credentials=(credential(1, rate_limit=-1), credential(2)))
    accounts = [snapshot.account(b"1"), snapshot.account(b"2")]
    assert [account and account.credential.is_enabled for account in accounts] == [False, True]
    assert snapshot.kept == ()


def test_a_gateway_whose_only_credential_is_faulty_is_not_open_to_anonymous_clients() -> None:
    fault = Fault("credential", "same", "key", "key must be set again", 1)
    snapshot = build(credentials=(credential(1, key_hash=b""),), faults=(fault,))
    assert snapshot.has_credentials
    account = snapshot.account(b"")
    assert account is None or not account.credential.is_enabled


def test_a_faulty_field_of_a_model_has_its_default_and_the_others_count() -> None:
    model = Model(
        id=1,
        name="m1",
        strategy="nonsense",  # type: ignore[arg-type]
        weights={"p1": 0},
        retry=RetryRules(max_retries=-1),
        cache=CacheRules(ttl=5),
    )
    snapshot = build(providers=(provider(1), provider(2, model_mapping={"m1": "y"})), models=(model,))
    served = snapshot.models["m1"]
    assert (served.strategy, served.retry, served.cache) == (
        "weighted_round_robin",
        RetryRules(),
        CacheRules(ttl=5),
    )
    route = snapshot.route("m1")
    assert route is not None
    assert [one.provider_key for one in route.deployments] == ["p2"], "drained for this model"
    before = build(models=(Model(id=1, name="m1", strategy="least_busy"),))
    assert build(before, models=(model,)).models["m1"] == Model(id=1, name="m1", strategy="least_busy")


def test_a_faulty_task_type_stays_as_it_was_or_is_unknown() -> None:
    broken = TaskType(id=1, name="t", models=())
    assert build(task_types=(broken,)).task_types == {}
    before = build(task_types=(TaskType(id=1, name="t", models=("m1",)),))
    assert build(before, task_types=(broken,)).task_types == {"t": ("m1",)}
    assert build(before).task_types == {}


def test_a_faulty_price_takes_nothing_down() -> None:
    good = PriceOverride(id=1, provider="p1", upstream_model="x", prices={"input_tokens": "1"})
    bad = PriceOverride(id=2, provider="p1", upstream_model="x", prices={"input_tokens": "nonsense"})
    snapshot = build(providers=(provider(1),), prices=(good, bad))
    assert snapshot.catalog.prices == (good,)
    assert [(fault.resource, fault.row, fault.id) for fault in snapshot.faults] == [("price", "p1/x", 2)]


def test_a_provider_whose_price_provider_is_unknown_serves_at_unknown_prices() -> None:
    catalog = Catalog(version=1, providers=(provider(1, price_provider="acmee"), provider(2, weight=-1)))
    snapshot = build_usable_snapshot(catalog, KINDS, prices=price_book())
    assert [each.provider.provider_key for each in snapshot.providers] == ["p1"]
    assert [fault.field for fault in snapshot.faults] == ["price_provider", "weight"]
    route = snapshot.route("m1")
    assert route is not None
    assert route.deployments[0].prices is not None
    assert route.deployments[0].prices.at(0).table.unknown == "unknown_provider"
