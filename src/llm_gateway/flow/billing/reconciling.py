"""Compares a provider's bill with what the gateway recorded, by day and model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from decimal import Decimal
from typing import Final, Literal

import msgspec

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.core.money import NANO_USD
from llm_gateway.core.times import iso_time

# matched: within the tolerance. missing_here: only the bill has it. missing_there: only the gateway has it.
State = Literal["matched", "differs", "missing_here", "missing_there"]
_DAY: Final = 86_400_000_000
# A day, and the model or the tool that was billed, in the words of both sides.
_Item = tuple[int, str]


class AmbiguousPeriod(ValueError):
    """A line of the bill is not about one day, so that days cannot be compared; the message names it."""


class BilledCharge(msgspec.Struct, frozen=True):
    """One amount of the bill: start and end in Unix microseconds, the model or the tool, exact nano-USD."""

    start: int
    end: int
    item: str
    nano_usd: Decimal


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One day and item: what either side has, in nano-USD, rounded once; `day` is ISO 8601."""

    day: str
    item: str
    state: State
    billed_nano_usd: int | None
    recorded_nano_usd: int | None
    # Attempts of the gateway whose cost is unknown: they explain a gap.
    unpriced: int = 0

    @property
    def difference(self) -> int:
        """The bill's amount less the gateway's."""
        return (self.billed_nano_usd or 0) - (self.recorded_nano_usd or 0)


class RecordedCharge(msgspec.Struct):
    """What the gateway has of one day and item."""

    nano_usd: int = 0
    unpriced: int = 0


async def record_costs(
    attempts: AsyncIterable[tuple[UsageRecord, AttemptEnded]],
    *,
    canonical: Callable[[str], str],
    tools: frozenset[str],
    shift: int = 0,
) -> dict[_Item, RecordedCharge]:
    """Add up attempts by day and item.

    Units in `tools` are items of their own, as bills have them. `shift` is the offset of the bill's days from UTC, in
    microseconds.
    """
    found: dict[_Item, RecordedCharge] = defaultdict(RecordedCharge)
    async for record, attempt in attempts:
        day = (record.created_at + shift) // _DAY
        model = canonical(attempt.upstream_model)
        if attempt.cost_nano_usd is None:
            found[day, model].unpriced += 1
            continue
        apart = 0
        for unit, (_, nano_usd) in (attempt.cost_breakdown or {}).items():
            if unit in tools:
                found[day, unit].nano_usd += nano_usd
                apart += nano_usd
        found[day, model].nano_usd += attempt.cost_nano_usd - apart
    return dict(found)


def reconcile(
    billed: Iterable[BilledCharge],
    recorded: Mapping[_Item, RecordedCharge],
    *,
    canonical: Callable[[str], str],
    tolerance: Decimal,
    shift: int = 0,
) -> list[Finding]:
    """Return a finding for each day and item of either side, in order.

    Amounts match if they differ by at most `tolerance` (a fraction of the larger one) or by half a cent. Raises
    AmbiguousPeriod.
    """
    sums: dict[_Item, Decimal] = defaultdict(Decimal)
    for amount in billed:
        sums[_day_of(amount, shift), canonical(amount.item)] += amount.nano_usd
    findings = []
    for item in sorted({*sums, *recorded}):
        there, here = sums.get(item), recorded.get(item)
        rounded = None if there is None else int(there.to_integral_value())
        finding = Finding(
            day=iso_time(item[0] * _DAY)[:10],
            item=item[1],
            state=_state(there, here, tolerance),
            billed_nano_usd=rounded,
            recorded_nano_usd=None
            if here is None or not (here.nano_usd or not here.unpriced)
            else here.nano_usd,
            unpriced=0 if here is None else here.unpriced,
        )
        # Nothing on either side: free models, and bills that list what was not used.
        if finding.billed_nano_usd or finding.recorded_nano_usd or finding.unpriced:
            findings.append(finding)
    return findings


def _day_of(amount: BilledCharge, shift: int) -> int:
    first, last = (amount.start + shift) // _DAY, (amount.end + shift - 1) // _DAY
    if first != last:
        message = (
            f"the amount for {amount.item!r} is for {iso_time(amount.start)} to {iso_time(amount.end)}, which is not "
            "within one day of UTC; export the bill by days of UTC"
        )
        raise AmbiguousPeriod(message)
    return first


_HALF_A_CENT: Final = Decimal(NANO_USD) / 200


def _state(there: Decimal | None, here: RecordedCharge | None, tolerance: Decimal) -> State:
    # What is worth less than half a cent is no finding on either side.
    billed, known = there or Decimal(0), Decimal(0 if here is None else here.nano_usd)
    if there is None and here is not None and here.unpriced:
        # Nobody knows what that cost: it must not look like nothing.
        return "missing_there"
    if abs(billed - known) <= max(_HALF_A_CENT, tolerance * max(abs(billed), abs(known))):
        return "matched"
    if here is None or not (here.nano_usd or here.unpriced):
        return "missing_here"
    if there is None or not there:
        return "missing_there"
    return "differs"
