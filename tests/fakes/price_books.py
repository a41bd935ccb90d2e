"""A small price book: the provider `acme` has prices for some models."""

from __future__ import annotations

import json
from typing import Any

from llm_gateway.core.pricing.price_book import FORMAT, PriceBook

_TOKENS = 1_000_000
UNITS: dict[str, tuple[int, str]] = {
    "input_tokens": (_TOKENS, "family:tokens direction:input"),
    "output_tokens": (_TOKENS, "family:tokens direction:output"),
    "cache_read_tokens": (_TOKENS, "family:tokens direction:input token_type:cache_read"),
    "input_audio_tokens": (_TOKENS, "family:tokens direction:input modality:audio"),
    "cache_audio_read_tokens": (
        _TOKENS,
        "family:tokens direction:input modality:audio token_type:cache_read",
    ),
    "audio_seconds": (3600, "family:durations modality:audio"),
    "web_searches": (1000, "family:tool_calls tool_type:web_search"),
    "requests": (1000, "family:requests"),
}
# USD per million of input and output tokens.
MODELS = {"cheap": ("0.5", "1.5"), "dear": ("10", "30"), "free": ("0", "0"), "unpriced": None}


def price_book(version: str = "book-1", **providers: list[Any]) -> PriceBook:
    """Return a book with `acme`, and further `providers` with rows as the file has them."""
    acme = [
        [name, name, [[None, {"input_tokens": prices[0], "output_tokens": prices[1]} if prices else {}]]]
        for name, prices in MODELS.items()
    ]
    units = {
        name: [per, dict(pair.split(":", 1) for pair in dimensions.split())]
        for name, (per, dimensions) in UNITS.items()
    }
    file = {
        "format": FORMAT,
        "version": version,
        "units": units,
        "providers": {name: {"models": models} for name, models in {"acme": acme, **providers}.items()},
    }
    return PriceBook(json.dumps(file).encode())
