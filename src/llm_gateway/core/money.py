"""Amounts of money: integer nano-USD inside the gateway, decimal USD as text at its edges."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

NANO_USD: Final = 1_000_000_000
# Nano-USD that 64 bits hold: 9.2 billion USD.
MOST_NANO_USD: Final = 2**63 - 1
_TOO_FINE: Final = "must have at most nine decimals"


class InvalidAmount(ValueError):
    """The text is no amount of money; the message says what is wrong with it."""


# A request's cost is written in its log line soon after its reply's header.
@lru_cache(maxsize=1024)
def usd_text(nano_usd: int) -> str:
    """Return an amount as the shortest decimal USD without an exponent: `0.00042`, `12`, `-3.5`."""
    if 0 < nano_usd < NANO_USD:
        # Nearly every request's cost, in a third of the time.
        return "0." + str(NANO_USD + nano_usd)[1:].rstrip("0")
    whole, nano = divmod(abs(nano_usd), NANO_USD)
    sign = "-" if nano_usd < 0 else ""
    return f"{sign}{whole}.{nano:09d}".rstrip("0") if nano else f"{sign}{whole}"


def read_usd(amount: str | float | Decimal) -> int:
    """Return decimal USD as nano-USD; raise InvalidAmount.

    A float stands for the decimal that its text says. More than nine decimals are refused instead of rounded.
    """
    try:
        value = Decimal(repr(amount) if isinstance(amount, float) else amount)
    except (InvalidOperation, ValueError, TypeError):
        raise InvalidAmount("must be an amount in USD, such as 12.5") from None
    if not value.is_finite():
        raise InvalidAmount("must be an amount in USD, such as 12.5")
    # Also keeps an exponent such as 1e999999 from being written out.
    if value and abs(value.adjusted()) > 20:
        raise InvalidAmount(
            f"must be at most {usd_text(MOST_NANO_USD)} USD" if value.adjusted() > 0 else _TOO_FINE
        )
    nano = value * NANO_USD
    if nano != nano.to_integral_value():
        raise InvalidAmount(_TOO_FINE)
    if abs(nano) > MOST_NANO_USD:
        raise InvalidAmount(f"must be at most {usd_text(MOST_NANO_USD)} USD")
    return int(nano)
