"""Who may send a request, and when the gateway takes none."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from llm_gateway.core.config.accounts import ANONYMOUS, Project, Tenant
from llm_gateway.core.config.limits import Budget
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.errors import Forbidden, Unauthenticated, Unavailable
from llm_gateway.flow.gateway import Options
from llm_gateway.flow.ports.dialect import PresentedKey
from llm_gateway.flow.request.admission import (
    authenticate,
    authorise,
    current_snapshot,
    refuse_disabled_owner,
    refuse_shut,
)
from tests.fakes.in_memory import KEY, FakeGateway, Fixed, PlainHasher, ScriptedUpstream, credential, provider


def make(**more: Any) -> tuple[FakeGateway, Snapshot]:
    bench = FakeGateway(provider("a"), upstream=ScriptedUpstream(), **more)
    snapshot = bench.gateway.snapshots.current
    assert snapshot is not None
    return bench, snapshot


def test_the_configuration_in_force_is_used() -> None:
    bench, snapshot = make()
    assert current_snapshot(bench.gateway, admitted=True) is snapshot


@pytest.mark.parametrize(
    ("draining", "admitted", "configured", "code"),
    [
        (True, True, True, "draining"),
        (True, False, False, "draining"),
        (False, False, True, "overloaded"),
        (False, True, False, "not_ready"),
    ],
)
def test_a_gateway_that_takes_no_requests_says_why(
    draining: bool, admitted: bool, configured: bool, code: str
) -> None:
    bench, snapshot = make()
    gateway = replace(bench.gateway, snapshots=Fixed(snapshot if configured else None))
    gateway.lifecycle.draining = draining
    with pytest.raises(Unavailable) as caught:
        current_snapshot(gateway, admitted=admitted)
    assert (caught.value.code, caught.value.retry_after) == (code, 1)


def test_a_key_is_its_credentials() -> None:
    bench, snapshot = make()
    assert authenticate(bench.gateway, snapshot, PresentedKey(KEY)).credential.name == "tester"


@pytest.mark.parametrize("key", [None, "", "sk-other", "sk-off"])
def test_missing_unknown_and_disabled_keys_are_refused(key: str | None) -> None:
    off = credential("sk-off", 2, name="off", is_enabled=False)
    bench, snapshot = make(credentials=(credential(), off))
    with pytest.raises(Unauthenticated):
        authenticate(bench.gateway, snapshot, None if key is None else PresentedKey(key))


def test_a_key_is_refused_from_the_moment_it_expires() -> None:
    bench, snapshot = make(credentials=(credential(expires_at=1_000_000_000),))
    # Virtual time begins at 1,000 s.
    bench.clock.now = 999.999
    assert authenticate(bench.gateway, snapshot, PresentedKey(KEY)).credential.name == "tester"
    bench.clock.now = 1000.0
    with pytest.raises(Unauthenticated, match="Expired API key") as caught:
        authenticate(bench.gateway, snapshot, PresentedKey(KEY))
    assert (caught.value.status, caught.value.code) == (401, "expired_api_key")
    # Only who has the key learns that.
    with pytest.raises(Unauthenticated, match="unknown or disabled"):
        authenticate(bench.gateway, snapshot, PresentedKey("sk-other"))


def test_a_previous_key_is_refused_from_the_moment_it_expires_and_the_current_one_never() -> None:
    old = PlainHasher().hash("sk-old")
    one = credential(previous_key_hash=old, previous_key_expires_at=1_000_000_000)
    bench, snapshot = make(credentials=(one,))
    keys = PresentedKey(KEY), PresentedKey("sk-old")
    bench.clock.now = 999.0
    assert authenticate(bench.gateway, snapshot, keys[0]) is authenticate(bench.gateway, snapshot, keys[1])
    bench.clock.now = 1000.0
    with pytest.raises(Unauthenticated, match="replaced by a new one"):
        authenticate(bench.gateway, snapshot, keys[1])
    authenticate(bench.gateway, snapshot, keys[0])


@pytest.mark.parametrize(
    "fields", [{"revoked_at": 1}, {"is_enabled": False}, {"previous_key_expires_at": None}]
)
def test_a_previous_key_of_no_use_is_refused(fields: dict[str, Any]) -> None:
    old = PlainHasher().hash("sk-old")
    values = {"previous_key_hash": old, "previous_key_expires_at": 10**18, **fields}
    bench, snapshot = make(credentials=(credential(**values),))
    with pytest.raises(Unauthenticated):
        authenticate(bench.gateway, snapshot, PresentedKey("sk-old"))


@pytest.mark.parametrize(
    ("rows", "code", "name"),
    [
        ({"tenants": (Tenant(id=1, name="acme", is_enabled=False),)}, "tenant_disabled", "acme"),
        (
            {"projects": (Project(id=1, name="web", tenant="acme", is_enabled=False),)},
            "project_disabled",
            "web",
        ),
    ],
)
def test_a_disabled_tenant_or_project_is_named(rows: dict[str, Any], code: str, name: str) -> None:
    valid = {"tenants": (Tenant(id=1, name="acme"),), "projects": (Project(id=1, name="web", tenant="acme"),)}
    bench, snapshot = make(credentials=(credential(project="web"),), **valid | rows)
    account = authenticate(bench.gateway, snapshot, PresentedKey(KEY))
    assert account.is_shut
    for refuse in (partial(refuse_shut, bench.gateway), refuse_disabled_owner):
        with pytest.raises(Forbidden, match=f"'{name}'") as caught:
            refuse(account)
        assert (caught.value.status, caught.value.code) == (403, code)
    bench, snapshot = make(credentials=(credential(project="web"),), **valid)
    account = authenticate(bench.gateway, snapshot, PresentedKey(KEY))
    assert not account.is_shut
    refuse_disabled_owner(account)


def test_a_budget_of_all_requests_holds_for_anonymous_ones() -> None:
    everybodys = Budget(id=1, name="b", scope="all", amount_nano_usd=1, period="day", counts_from=0)
    bench, snapshot = make(options=Options(allow_anonymous=True), credentials=(), budgets=(everybodys,))
    account = authenticate(bench.gateway, snapshot, None)
    assert (account.is_limited, [one.budget for one in account.budgets]) == (True, [everybodys])


def test_anonymous_requests_need_the_setting_and_no_credentials() -> None:
    bench, snapshot = make(options=Options(allow_anonymous=True), credentials=())
    assert authenticate(bench.gateway, snapshot, None) is ANONYMOUS
    # A key that is sent is checked all the same.
    with pytest.raises(Unauthenticated):
        authenticate(bench.gateway, snapshot, PresentedKey(KEY))
    for options, credentials in ((Options(allow_anonymous=True), None), (Options(), ())):
        bench, snapshot = make(options=options, credentials=credentials)
        with pytest.raises(Unauthenticated, match="Incorrect API key provided: none"):
            authenticate(bench.gateway, snapshot, None)


def test_a_key_is_for_its_models() -> None:
    bench, snapshot = make(credentials=(credential(allowed_models=("gpt-*",)),))
    account = authenticate(bench.gateway, snapshot, PresentedKey(KEY))
    authorise(account, "gpt-4")
    with pytest.raises(Forbidden, match="'m'") as caught:
        authorise(account, "m")
    assert caught.value.param == "model"
