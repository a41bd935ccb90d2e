"""Tells a webhook of the thresholds that budgets reach."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from typing import Final

import msgspec
from loguru import logger

from llm_gateway.core.money import usd_text
from llm_gateway.core.secret import Secret
from llm_gateway.core.times import iso_time
from llm_gateway.flow.ports.budgets import BudgetNotice, BudgetNotices
from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.flow.ports.upstream import TransportError, Upstream
from llm_gateway.providers.base import UpstreamRequest

_INTERVAL: Final = 2.0
_AFTER_A_FAILURE: Final = 10.0
_TIMEOUT: Final = 10.0
_REPLY_LIMIT: Final = 64 * 1024


class BudgetWebhook:
    """A task in every worker; the worker that borrows does the work.

    Each notice is sent until the webhook answers 2xx, at longer and longer intervals; it may arrive twice, under the
    same id.
    """

    def __init__(
        self,
        upstream: Upstream,
        notices: BudgetNotices,
        url: Secret,
        secret: Secret | None,
        *,
        is_elected: Callable[[], bool],
        interval: float = _INTERVAL,
    ) -> None:
        """`url` may hold a key; `secret` signs what is sent."""
        self._upstream = upstream
        self._notices = notices
        self._url = url
        self._secret = secret
        self._is_elected = is_elected
        self._interval = interval
        self._is_failing = False

    async def run(self) -> None:
        while True:
            pause = self._interval
            try:
                if self._is_elected():
                    await self.send_due()
            except StoreUnavailable:
                pause = _AFTER_A_FAILURE
            except Exception:  # noqa: BLE001 - the next round tries again
                logger.exception("The budget webhook failed")
                pause = _AFTER_A_FAILURE
            await asyncio.sleep(pause)

    async def send_due(self) -> None:
        """Send every notice that is due."""
        while claimed := await self._notices.claim():
            await asyncio.gather(*map(self._deliver, claimed))

    async def _deliver(self, notice: BudgetNotice) -> None:
        problem = await self._send(notice)
        if problem is not None and not self._is_failing:
            logger.warning("The budget webhook cannot be reached ({}); it is tried again.", problem)
        self._is_failing = problem is not None
        if not await self._notices.finish(notice, is_delivered=problem is None):
            logger.error(
                "The budget webhook was not told that the budget {!r} reached {} %.",
                notice.budget.name,
                notice.percent,
            )

    async def _send(self, notice: BudgetNotice) -> str | None:
        """Return None when the webhook has taken the notice, else why not."""
        body = notice_body(notice)
        headers = {"content-type": "application/json", "idempotency-key": notice.id}
        if self._secret is not None:
            headers["x-llm-gateway-signature"] = signature(self._secret, body)
        request = UpstreamRequest(url=self._url.reveal(), headers=headers, body=body)
        try:
            async with asyncio.timeout(_TIMEOUT):
                reply = await self._upstream.send(request, _TIMEOUT)
                try:
                    await reply.read_all(_REPLY_LIMIT, _TIMEOUT)
                finally:
                    reply.close()
        except TransportError as error:
            return error.kind
        except TimeoutError:
            return "timeout"
        return None if 200 <= reply.status < 300 else f"status {reply.status}"


def notice_body(notice: BudgetNotice) -> bytes:
    """Return what is sent: no secret, and the same numbers as the admin API shows."""
    budget = notice.budget
    return msgspec.json.encode(
        {
            "id": notice.id,
            "type": "budget.threshold_reached",
            "threshold_percent": notice.percent,
            "budget": {
                "id": budget.id,
                "name": budget.name,
                "scope": budget.scope,
                "subject": notice.window.subject or budget.subject,
                "period": budget.period,
                "amount_usd": usd_text(budget.amount_nano_usd),
            },
            "spent_usd": usd_text(notice.spent),
            "window_start": iso_time(notice.window.start),
            "reset_at": None if notice.end is None else iso_time(notice.end),
        }
    )


def signature(secret: Secret, body: bytes) -> str:
    """Return the HMAC-SHA256 of the body, as GitHub's webhooks send it."""
    return "sha256=" + hmac.new(secret.reveal().encode(), body, hashlib.sha256).hexdigest()
