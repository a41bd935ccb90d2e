"""Explains how a request would have been routed by an earlier version of the configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from llm_gateway.core.config.providers import Kind
from llm_gateway.core.config.snapshot import Snapshot, build_usable_snapshot
from llm_gateway.flow.config.history import CatalogHistory
from llm_gateway.flow.explain.answer import Explanation, Question
from llm_gateway.flow.explain.explainer import explain
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.catalog import Snapshots
from llm_gateway.flow.routing.selector import Selector

NOTES = (
    "Breakers, round robins and attempts in flight are those of a gateway that has just started.",
    "Every provider counts as having its key, and as serving each model that it maps: neither is recorded.",
    "Prices and expiry dates are those that apply now.",
)


@dataclass(frozen=True, slots=True)
class _Fixed(Snapshots):
    current: Snapshot | None


async def explain_earlier(
    gateway: Gateway, history: CatalogHistory, kinds: Mapping[str, Kind], question: Question, version: int
) -> Explanation:
    """Explain the route of a request by config version `version`; no live state is read or changed.

    Raise NotFound for an unknown version, credential or task type, BadRequest for a question without a model, and
    Unprocessable if the version cannot be rebuilt.
    """
    catalog = await history.catalog(version)
    current = gateway.snapshots.current
    book = None if current is None else current.price_book
    snapshot = await asyncio.to_thread(build_usable_snapshot, catalog, kinds, None, book)
    then = replace(gateway, snapshots=_Fixed(snapshot), selector=Selector())
    return replace(explain(then, question), notes=NOTES)
