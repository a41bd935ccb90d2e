"""What the commands about bills and prices print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from llm_gateway.core.money import usd_text

if TYPE_CHECKING:
    from llm_gateway.app.operations.billing import Reconciliation
    from llm_gateway.flow.billing.reconciling import Finding
    from llm_gateway.flow.billing.repricing import RepriceReport

_STATES = {
    "matched": "matched",
    "differs": "differs",
    "missing_here": "only on the bill",
    "missing_there": "only in the gateway",
}


def reconciliation_lines(found: Reconciliation) -> Iterator[str]:
    """Yield a table of the findings and their sums."""
    yield f"Compared with the usage rows of: {', '.join(found.providers)}"
    rows = [("day", "model", "bill USD", "gateway USD", "difference", "")]
    for one in found.findings:
        note = _STATES[one.state]
        if one.unpriced:
            note += f", {one.unpriced} attempts of unknown cost"
        rows.append(
            (
                one.day,
                one.item,
                _usd(one.billed_nano_usd),
                _usd(one.recorded_nano_usd),
                usd_text(one.difference),
                note,
            )
        )
    billed, recorded = _sums(found.findings)
    rows.append(("total", "", usd_text(billed), usd_text(recorded), usd_text(billed - recorded), ""))
    yield from _table(rows, left=(0, 1, 5))
    counts = {state: sum(one.state == state for one in found.findings) for state in _STATES}
    yield ", ".join(f"{count} {_STATES[state]}" for state, count in counts.items())


def reconciliation_json(found: Reconciliation) -> str:
    """Return the findings as JSON; amounts are decimal USD."""
    billed, recorded = _sums(found.findings)
    return _json(
        {
            "providers": list(found.providers),
            "billed_usd": usd_text(billed),
            "recorded_usd": usd_text(recorded),
            "findings": [
                {
                    "day": one.day,
                    "item": one.item,
                    "state": one.state,
                    "billed_usd": None if one.billed_nano_usd is None else usd_text(one.billed_nano_usd),
                    "recorded_usd": None
                    if one.recorded_nano_usd is None
                    else usd_text(one.recorded_nano_usd),
                    "difference_usd": usd_text(one.difference),
                    "unpriced": one.unpriced,
                }
                for one in found.findings
            ],
        }
    )


def reprice_lines(report: RepriceReport, *, applied: bool) -> Iterator[str]:
    """Yield a table of what changes, and a sentence for each thing that stays."""
    if report.models:
        rows = [
            ("provider", "model", "requests", "before USD", "after USD", "newly priced", "no longer priced")
        ]
        rows += [
            (
                one.provider, one.upstream_model, str(one.requests), _usd(one.before_nano_usd),
                _usd(one.after_nano_usd), str(one.newly_priced), str(one.newly_unpriced),
            )
            for one in report.models
        ]  # fmt: skip
        yield from _table(rows, left=(0, 1))
    verb = "changed" if applied else "would change"
    yield f"{report.changed - report.overtaken} of {report.seen} requests {verb}."
    if report.overtaken:
        yield f"{report.overtaken} changed meanwhile and stay as they are; run the command again."
    if report.too_old:
        yield f"{report.too_old} attempts are from before costs were recorded and stay as they are."
    if report.without_provider:
        yield f"{report.without_provider} attempts are of providers that were deleted and stay as they are."
    if report.changed and not applied:
        yield "Nothing was stored; add --apply to store it."


def reprice_json(report: RepriceReport) -> str:
    """Return the report as JSON; amounts are decimal USD."""
    values = msgspec.to_builtins(report)
    for model in values["models"]:
        for name in ("before", "after"):
            nano_usd = model.pop(f"{name}_nano_usd")
            model[f"{name}_usd"] = None if nano_usd is None else usd_text(nano_usd)
    return _json(values)


def _sums(findings: Sequence[Finding]) -> tuple[int, int]:
    return sum(one.billed_nano_usd or 0 for one in findings), sum(
        one.recorded_nano_usd or 0 for one in findings
    )


def _usd(nano_usd: int | None) -> str:
    return "-" if nano_usd is None else usd_text(nano_usd)


def _json(values: Any) -> str:  # noqa: ANN401 - any JSON
    return msgspec.json.format(msgspec.json.encode(values), indent=2).decode()


def _table(rows: Sequence[Sequence[str]], left: Sequence[int]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
