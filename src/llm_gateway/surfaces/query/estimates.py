"""Estimates of what a query will cost, as clients of the query gateway get them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from llm_gateway.core.money import read_usd, usd_text
from llm_gateway.surfaces.query.bodies import Query
from llm_gateway.surfaces.query.choosing import ModelChoice

_UNLIMITED: Final = "nothing limits the answer: send max_tokens or max_cost_usd"
_NULL: Final = msgspec.Raw(b"null")


def usd(nano_usd: int | None) -> msgspec.Raw:
    """Return an amount as a JSON number with all of its decimals; null if it is not known."""
    return _NULL if nano_usd is None else msgspec.Raw(usd_text(nano_usd).encode())


def cost_estimate(estimate: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an answer that says what the query was estimated to cost before it was sent.

    `estimate` has the fields of `cost_headers.shown`. Amounts are USD; None, with the reason, if they are not known.
    """
    prompt, completion = estimate["prompt_tokens"], estimate["completion_tokens"]
    return {
        "estimated_cost_usd": _number(estimate["cost_usd"]),
        "unpriced": estimate["unpriced"],
        "highest_cost_usd": _number(estimate["max_cost_usd"]),
        "unbounded": _UNLIMITED if estimate["max_completion_tokens"] is None else estimate["unbounded"],
        "input_tokens": prompt,
        "output_tokens": completion,
        "total_tokens": prompt + completion,
        "input_tokens_source": estimate["prompt_tokens_source"],
        "output_tokens_source": estimate["completion_tokens_source"],
        "price_source": estimate["price_source"],
        "price_version": estimate["price_version"],
    }


def whole_estimate(
    estimate: dict[str, Any], query: Query, choice: ModelChoice, request_id: str
) -> dict[str, Any]:
    """Return the answer to a cost estimate: whose model would answer, and what that would cost."""
    return {
        "task_type": query.task_type,
        "model": choice.label(estimate["model"]),
        "model_version": estimate["upstream_model"],
        "provider": estimate["provider"],
        **cost_estimate(estimate),
        "currency": "USD",
        "request_id": request_id,
    }


def dry_run(estimate: dict[str, Any], query: Query, choice: ModelChoice, request_id: str) -> dict[str, Any]:
    """Return the answer to a dry run: the estimate, and whether the query would be sent."""
    highest = estimate["max_cost_usd"]
    ceiling = None if query.max_cost_usd is None else read_usd(query.max_cost_usd)
    return {
        "dry_run": True,
        "valid": True,
        "within_budget": ceiling is None or (highest is not None and read_usd(highest) <= ceiling),
        "max_cost_usd": usd(ceiling),
        "tenant": query.tenant,
        **whole_estimate(estimate, query, choice, request_id),
    }


def _number(usd_amount: str | None) -> msgspec.Raw:
    return _NULL if usd_amount is None else msgspec.Raw(usd_amount.encode())
