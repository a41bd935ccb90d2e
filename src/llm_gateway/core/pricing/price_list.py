"""Reads a price table back as the decimals that it was made of."""

from __future__ import annotations

from decimal import Context, Decimal

from llm_gateway.core.money import NANO_USD
from llm_gateway.core.pricing.price_table import PriceTable
from llm_gateway.core.pricing.units import REQUESTS, UnitSet

# Prices have at most 10 digits before the point and 18 after it.
_EXACT = Context(prec=40)


def price_list(units: UnitSet, table: PriceTable) -> list[tuple[int, dict[str, Decimal]]]:
    """Return the prices of `table`, in USD per `Unit.per`, by the total of input tokens that they apply above.

    The first pair, whose total is -1, has the prices of most requests. The list is empty if there are no prices.
    """
    bands = []
    for start, lines in table.bands:
        # Lines have parts first; lists begin with what contains them.
        rates = {name: rate for name, rate, _ in reversed(lines)}
        if table.request:
            rates[REQUESTS] = table.request
        bands.append((start, {name: _usd(rate, units[name].per, table) for name, rate in rates.items()}))
    return bands


def _usd(rate: int, per: int, table: PriceTable) -> Decimal:
    return _EXACT.divide(Decimal(rate * per), Decimal(table.denominator * NANO_USD)).normalize(_EXACT)


def decimal_text(amount: Decimal) -> str:
    """Return `amount` without an exponent and without needless zeros: "2.5", "100"."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
