"""Reads the price book that ships with the gateway, once a process, when it is first needed."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

from llm_gateway.core.pricing.price_book import PriceBook
from llm_gateway.infra.startup_error import StartupError

FILE: Final = Path(__file__).with_name("prices.json")


@lru_cache(maxsize=1)
def shipped_price_book() -> PriceBook:
    """Return the price book; raise StartupError if the installation lacks its file or has another one.

    The first call reads the file (3 ms, less than 1 MB), so it belongs where a configuration is built, not into a
    request.
    """
    try:
        return PriceBook(FILE.read_bytes())
    except (OSError, ValueError) as error:
        raise StartupError(
            f"The price book of this installation cannot be used ({error}); install the gateway again."
        ) from None
