"""The webhook hears of each notice until it takes it, signed, and without a secret in it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest

from llm_gateway.core.config.budgets import BudgetWindow
from llm_gateway.core.config.limits import Budget
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.budgets import BudgetNotice, BudgetNotices
from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.flow.ports.upstream import TransportError, Upstream, UpstreamReply
from llm_gateway.infra.budgets.webhook import BudgetWebhook, notice_body, signature
from llm_gateway.providers.base import UpstreamRequest

NOTICE = BudgetNotice(
    id="an-id",
    window=BudgetWindow(3, "agent", 1_795_910_400_000_000),
    end=1_795_996_800_000_000,
    percent=80,
    budget=Budget(id=3, name="team", scope="agent", amount_nano_usd=10**9, period="day", counts_from=0),
    spent=820_000_000,
    tries=1,
)


class Notices(BudgetNotices):
    def __init__(self, *batches: list[BudgetNotice]) -> None:
        self.batches = list(batches)
        self.finished: list[bool] = []
        self.is_away = False

    async def claim(self) -> Sequence[BudgetNotice]:
        if self.is_away:
            raise StoreUnavailable("away")
        return self.batches.pop(0) if self.batches else []

    async def finish(self, notice: BudgetNotice, *, is_delivered: bool) -> bool:
        del notice
        self.finished.append(is_delivered)
        return True


class Reply:
    def __init__(self, status: int) -> None:
        self.status = status

    async def read_all(self, limit: int, timeout: float) -> bytes:
        del limit, timeout
        return b""

    def close(self) -> None:
        pass


class Receiver(Upstream):
    def __init__(self, *answers: int | TransportError) -> None:
        self.answers = list(answers)
        self.requests: list[UpstreamRequest] = []

    async def send(self, request: UpstreamRequest, timeout: float) -> UpstreamReply:
        del timeout
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, TransportError):
            raise answer
        return cast("UpstreamReply", Reply(answer))

    async def close(self) -> None:
        pass


def webhook(receiver: Receiver, notices: Notices, **options: Any) -> BudgetWebhook:
    url = Secret("http://127.0.0.1:9/hook?key=sesame")
    return BudgetWebhook(
        receiver, notices, url, Secret("signing"), is_elected=lambda: True, interval=0.01, **options
    )


@pytest.mark.parametrize(
    ("answer", "is_delivered"),
    [(204, True), (200, True), (301, False), (500, False), (TransportError("connect", "refused"), False)],
)
async def test_a_notice_is_delivered_when_the_webhook_takes_it(
    answer: int | TransportError, is_delivered: bool
) -> None:
    receiver, notices = Receiver(answer), Notices([NOTICE])
    await webhook(receiver, notices).send_due()
    assert notices.finished == [is_delivered]
    (request,) = receiver.requests
    assert request.headers["idempotency-key"] == "an-id"
    expected = hmac.new(b"signing", request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-llm-gateway-signature"] == f"sha256={expected}"


def test_a_notice_shows_what_the_admin_api_shows() -> None:
    body = msgspec.json.decode(notice_body(NOTICE))
    assert body == {
        "id": "an-id",
        "type": "budget.threshold_reached",
        "threshold_percent": 80,
        "budget": {
            "id": 3, "name": "team", "scope": "agent", "subject": "agent", "period": "day", "amount_usd": "1",
        },
        "spent_usd": "0.82",
        "window_start": "2026-11-29T00:00:00.000000Z",
        "reset_at": "2026-11-30T00:00:00.000000Z",
    }  # fmt: skip
    assert signature(Secret("a"), b"x") != signature(Secret("b"), b"x")


async def test_it_goes_on_after_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm_gateway.infra.budgets.webhook._AFTER_A_FAILURE", 0.01)
    receiver, notices = Receiver(204), Notices([NOTICE])
    notices.is_away = True
    task = asyncio.create_task(webhook(receiver, notices).run())
    await asyncio.sleep(0.05)
    notices.is_away = False
    async with asyncio.timeout(5):
        while not notices.finished:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    task.cancel()
