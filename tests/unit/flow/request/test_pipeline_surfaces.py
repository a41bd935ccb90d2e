"""What surfaces may ask of the flow: own accounts, limits on their callers, other models, bounds on attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_gateway.core.config.accounts import PING_ACCOUNT, Principal
from llm_gateway.core.config.limits import Limits
from llm_gateway.core.config.models import Model
from llm_gateway.core.errors import (
    Forbidden,
    GatewayError,
    ModelNotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.accounting.holds import TokenEstimator
from llm_gateway.flow.accounting.use_limit import LimitedAccount, UseLimits
from llm_gateway.flow.gateway import Options
from llm_gateway.flow.ports.dialect import Attribution, IncomingCall, PresentedKey, RefusedKey, VouchedCaller
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import WholeReply
from llm_gateway.infra.use_limits.shared import SharedUseStore
from llm_gateway.surfaces.openai.dialect import OpenAIDialect
from llm_gateway.surfaces.openai.parsing import parse_chat
from tests.fakes.chat_requests import CUT, ask, read, whole
from tests.fakes.in_memory import FakeGateway, ScriptedUpstream, credential, provider


class Changed(OpenAIDialect):
    """OpenAI's dialect, with changes to each request."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(parse_chat)
        self._changes = changes

    def read(self, body: bytes, call: IncomingCall) -> tuple[ModelRequest, Attribution]:
        request, attribution = super().read(body, call)
        return msgspec.structs.replace(request, **self._changes), attribution


def bench_of(options: Options | None = None, **more: Any) -> FakeGateway:
    return FakeGateway(
        provider("a", 1, model_mapping={"m": "up"}),
        provider("b", 2, model_mapping={"n": "up"}),
        upstream=ScriptedUpstream(a=lambda _: whole(), b=lambda _: whole()),
        options=options,
        **more,
    )


async def asked(bench: FakeGateway, *, key: Any = None, dialect: Any = None, **fields: Any) -> WholeReply:
    call = bench.call() if dialect is None else bench.call(dialect=dialect)
    if key is not None:
        call.api_key = key
    reply = await handle(bench.gateway, call, read(**fields))
    assert isinstance(reply, WholeReply)
    return reply


async def test_a_vouched_caller_is_the_surfaces_own_account() -> None:
    bench = bench_of()
    await asked(bench, key=VouchedCaller(PING_ACCOUNT.key_hash))
    assert bench.recorder.record.credential == "surface:ping"


async def test_a_credential_of_the_accounts_name_has_its_limits_and_rights() -> None:
    row = credential("sk-row", 5, name="surface:ping", allowed_models=("n",), tenant=None)
    bench = bench_of(credentials=(row,))
    caller = VouchedCaller(PING_ACCOUNT.key_hash)
    with pytest.raises(GatewayError, match="may not use the model 'm'"):
        await asked(bench, key=caller)
    await asked(bench, key=caller, model="n")
    for change in ({"is_enabled": False}, {"revoked_at": 1}):
        bench = bench_of(credentials=(msgspec.structs.replace(row, **change),))
        with pytest.raises(
            Forbidden, match="the credential 'surface:ping', which stands for its callers"
        ) as shut:
            await asked(bench, key=caller, model="n")
        assert shut.value.code == "surface_disabled"
    # A key that is disabled itself is a bad key.
    with pytest.raises(Unauthenticated):
        await asked(bench, key=PresentedKey("sk-row"), model="n")


async def test_a_refused_key_is_refused_where_keys_are() -> None:
    bench = bench_of()
    key = RefusedKey(lambda: Unavailable("Set TOKEN_SECRET.", code="not_configured"))
    with pytest.raises(Unavailable, match="TOKEN_SECRET"):
        await asked(bench, key=key)
    assert [record.status_code for record in bench.recorder.records] == [503]


@pytest.mark.parametrize(
    ("stated", "noted"),
    [(0.3, 0.3), (0, 0.0), (2, 2.0), (-1, -1.0), ("0.3", None), (None, None), (1e7, None), ([], None)],
)
async def test_s1_18_a_request_record_has_the_temperature(stated: object, noted: float | None) -> None:
    bench = bench_of()
    await ask(bench, temperature=stated)
    assert bench.recorder.record.temperature == noted


async def test_a_request_may_name_the_models_to_fall_back_to() -> None:
    bench = bench_of(models=(Model(id=1, name="m", fallbacks=("unknown",)),))
    bench.upstream.answers["a"] = [CUT]
    await asked(bench, dialect=Changed(fallbacks=("n",)))
    assert bench.recorder.record.provider == "b"


class Minute:
    """One request a minute for each agent."""

    def __init__(self, folder: Path) -> None:
        self.refusals: list[tuple[str, str]] = []
        self._folder = folder

    def accounts(self, account: Principal, attribution: Attribution) -> Sequence[LimitedAccount]:
        return [
            LimitedAccount(
                "agent", f"{account.credential.id}/{attribution.agent}", Limits(requests_per_minute=1)
            )
        ]

    def bench(self, **options: Any) -> FakeGateway:
        bench = bench_of(options=Options(limits_every_caller=True, **options))
        store = SharedUseStore(self._folder, "db", UTC)
        limit = UseLimits(store, TokenEstimator(1000), lambda *of: self.refusals.append(of), self.accounts)
        bench.gateway = replace(bench.gateway, limit=limit)
        return bench


async def test_the_callers_of_a_surface_are_limited_although_their_account_is_not(tmp_path: Path) -> None:
    minute = Minute(tmp_path)
    bench = minute.bench()
    await asked(bench)
    with pytest.raises(RateLimited, match="1 requests per minute for this agent"):
        await asked(bench)
    assert minute.refusals == [("agent", "requests_per_minute")]


@pytest.mark.parametrize(
    ("first", "error"), [(True, RateLimited), (False, ModelNotFound)], ids=["limits first", "model first"]
)
async def test_s2_28_limits_may_come_before_the_model_is_looked_for(
    first: bool, error: type[GatewayError], tmp_path: Path
) -> None:
    bench = Minute(tmp_path).bench(limits_before_routing=first)
    with pytest.raises(ModelNotFound):
        # Nothing is used up by it.
        await asked(bench, model="unknown")
    await asked(bench)
    with pytest.raises(error):
        await asked(bench, model="unknown")


@pytest.mark.parametrize(("most", "attempts"), [(1, 1), (2, 2), (3, 3), (None, 4)])
async def test_s0_25_attempts_are_bounded_in_all(most: int | None, attempts: int) -> None:
    bench = bench_of(options=Options(max_attempts=most, max_retries=3))
    bench.upstream.answers["a"] = [CUT] * 9
    with pytest.raises(GatewayError):
        await ask(bench)
    record = bench.recorder.record
    assert (record.attempts, record.outcome) == (attempts, "error")
