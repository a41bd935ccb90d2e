"""How pages write numbers, money, sizes, durations and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from markupsafe import Markup, escape

from llm_gateway.core.money import usd_text

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNKNOWN: Final = "\N{EN DASH}"
_SIZES: Final = ("B", "kB", "MB", "GB", "TB")
# Characters of a long text that a page shows at once.
_LONGEST: Final = 20_000
# Characters of one of several names in a row.
_LONGEST_LISTED: Final = 60


def count(number: float | None) -> str:
    """Return 1234567 as "1,234,567"; None as a dash."""
    return _UNKNOWN if number is None else f"{number:,}"


def usd(amount: int | str | None) -> str:
    """Return nano-USD (int) or decimal USD (text) as "$0.0123"; None as a dash."""
    if amount is None:
        return _UNKNOWN
    text = usd_text(amount) if isinstance(amount, int) else amount
    value = Decimal(text)
    sign, text = ("-", format(-value, "f")) if value < 0 else ("", format(value, "f"))
    whole, _, decimals = text.partition(".")
    return f"{sign}${int(whole):,}.{decimals.rstrip('0').ljust(2, '0')}"


def duration(milliseconds: float | None) -> str:
    """Return 1234.5 ms as "1.23 s"; None as a dash."""
    if milliseconds is None:
        return _UNKNOWN
    if milliseconds < 10:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.2f} s"
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    return f"{minutes} min {seconds} s"


def size(number: float | None) -> str:
    """Return 12345 bytes as "12.3 kB"; None as a dash."""
    if number is None:
        return _UNKNOWN
    value, unit = float(number), 0
    while value >= 999.5 and unit < len(_SIZES) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {_SIZES[unit]}" if unit == 0 or value >= 99.95 else f"{value:.1f} {_SIZES[unit]}"


def percent(share: float | None) -> str:
    """Return 0.1234 as "12.3 %"; None as a dash."""
    return _UNKNOWN if share is None else f"{share * 100:.1f} %"


def when(moment: int | str | None) -> Markup | str:
    """Return Unix microseconds, or ISO 8601 text, as a `<time>` that the script shows in the reader's time zone."""
    if moment is None:
        return _UNKNOWN
    try:
        at = (
            _EPOCH + timedelta(microseconds=moment)
            if isinstance(moment, int)
            else datetime.fromisoformat(moment)
        )
    except (OverflowError, ValueError):
        return str(moment)
    at = at.astimezone(UTC)
    machine = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}">{} UTC</time>').format(machine, at.strftime("%Y-%m-%d %H:%M:%S"))


def cut(text: str, limit: int = _LONGEST) -> str:
    """Return the beginning of a long text, and how much of it is missing."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def listed(values: Any, limit: int = 5) -> Markup:  # noqa: ANN401 - any iterable
    """Return the first values in a row, and how many more there are."""
    values = list(values)
    shown = Markup(", ").join(_listed_one(str(value)) for value in values[:limit])
    return shown if len(values) <= limit else shown + escape(f" and {len(values) - limit:,} more")


def _listed_one(value: str) -> Markup:
    if len(value) <= _LONGEST_LISTED:
        return Markup("<code>{}</code>").format(value)
    return Markup('<code title="{}">{}…</code>').format(value, value[:_LONGEST_LISTED])


FILTERS: Final = {
    "count": count,
    "usd": usd,
    "duration": duration,
    "size": size,
    "percent": percent,
    "when": when,
    "cut": cut,
    "listed": listed,
}
