"""Who may send a request, and when the gateway takes none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.errors import Forbidden, Unauthenticated, Unavailable
from llm_gateway.flow.gateway import Options
from llm_gateway.flow.ports.dialect import PresentedKey
from llm_gateway.flow.request.admission import ANONYMOUS, authenticate, authorise, current_snapshot
from tests.fakes.in_memory import KEY, FakeGateway, Fixed, ScriptedUpstream, credential, provider


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


def test_anonymous_requests_need_the_setting_and_no_credentials() -> None:
    bench, snapshot = make(options=Options(allow_anonymous=True), credentials=())
    assert authenticate(bench.gateway, snapshot, None) is ANONYMOUS
    # A key that is sent is checked all the same.
    with pytest.raises(Unauthenticated):
        authenticate(bench.gateway, snapshot, PresentedKey(KEY))
    for options, credentials in ((Options(allow_anonymous=True), None), (Options(), ())):
        bench, snapshot = make(options=options, credentials=credentials)
        with pytest.raises(Unauthenticated, match="No API key"):
            authenticate(bench.gateway, snapshot, None)


def test_a_key_is_for_its_models() -> None:
    bench, snapshot = make(credentials=(credential(allowed_models=("gpt-*",)),))
    account = authenticate(bench.gateway, snapshot, PresentedKey(KEY))
    authorise(account, "gpt-4")
    with pytest.raises(Forbidden, match="'m'") as caught:
        authorise(account, "m")
    assert caught.value.param == "model"
