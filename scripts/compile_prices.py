"""Compiles the genai-prices package into the file that `llm_gateway.core.pricing.price_book` reads.

`make prices` runs it. The same package gives the same bytes, one model a line, so that a change of prices can be
reviewed. Usage: python -m scripts.compile_prices [FILE]
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices import types
from genai_prices.data import providers
from genai_prices.data_units import unit_data

from llm_gateway.core.pricing.price_book import FORMAT, PriceBook

FILE = Path(__file__).parents[1] / "src/llm_gateway/infra/price_book/prices.json"
LARGEST = 512 * 1024
# Some prices went through binary fractions: 0.13999999999999999 is 0.14.
DIGITS = Context(prec=12)
# Models that cost nothing. Others without prices have unknown ones: the package says 0 for both.
FREE_MODELS = {("openai", "moderation")}
FREE_SUFFIXES = {"openrouter": ":free"}
# A rule that the package has in its code: shorter audio is billed as 10 seconds.
LEAST_AUDIO_SECONDS = {("groq", "whisper-large-v3"): 10, ("groq", "whisper-large-v3-turbo"): 10}


def compiled() -> bytes:
    """Return the file; ValueError if the package says something that the gateway cannot represent."""
    units = {
        name: [unit["per"], dict(sorted(unit["dimensions"].items()))] for name, unit in unit_data.items()
    }
    heads = {provider.id: _head(provider) for provider in providers}
    models = {
        provider.id: [_model(provider.id, model) for model in provider.models] for provider in providers
    }
    digest = hashlib.sha256(_line([FORMAT, units, heads, models]).encode()).hexdigest()
    parts = [
        f'{{"format":{FORMAT},',
        f'"version":"genai-prices-{version("genai-prices")}-{digest[:12]}",',
        f'"units":{{\n{_lines(f"{_line(name)}:{_line(unit)}" for name, unit in units.items())}}},',
        '"providers":{',
        ",\n".join(_provider(name, head, models[name]) for name, head in heads.items()),
        "}}\n",
    ]
    data = "\n".join(parts).encode()
    if len(data) > LARGEST:
        raise ValueError(f"the price book has {len(data)} bytes, more than {LARGEST}")
    _check(data)
    return data


def _check(data: bytes) -> None:
    """Make every table once: prices must be valid, alone and with each of their variants."""
    book = PriceBook(data)
    for provider in providers:
        for model in provider.models:
            schedule = book.schedule(provider.id, model.id)
            instants = [0, *(_start(constraint) for constraint in _constraints(model))]
            for at in instants:
                for context in ({}, *(variant.when for variant in model.price_variants or ())):
                    schedule.table(at, context)


def _constraints(model: types.ModelInfo) -> list[types.StartDateConstraint]:
    dated = model.prices if isinstance(model.prices, list) else []
    conditions = [item.constraint for item in (*dated, *(model.price_variants or ()))]
    return [condition for condition in conditions if isinstance(condition, types.StartDateConstraint)]


def _start(constraint: types.StartDateConstraint) -> int:
    return int(datetime.combine(constraint.start_date, time(), UTC).timestamp()) * 1_000_000


def _line(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _lines(lines: Iterable[str]) -> str:
    return ",\n".join(lines)


def _provider(name: str, head: Mapping[str, Any], models: list[Any]) -> str:
    fields = "".join(f"{_line(key)}:{_line(value)}," for key, value in head.items())
    return f'{_line(name)}:{{{fields}"models":[\n{_lines(map(_line, models))}]}}'


def _head(provider: types.Provider) -> dict[str, Any]:
    head: dict[str, Any] = {}
    if provider.provider_match is not None:
        head["clause"] = _clause(provider.provider_match)
    if provider.fallback_model_providers:
        head["fallbacks"] = provider.fallback_model_providers
    return head


def _clause(clause: object) -> object:
    match clause:
        case types.ClauseEquals():
            return clause.equals
        case types.ClauseStartsWith():
            return {"starts_with": clause.starts_with}
        case types.ClauseEndsWith():
            return {"ends_with": clause.ends_with}
        case types.ClauseContains():
            return {"contains": clause.contains}
        case types.ClauseRegex():
            return {"regex": clause.regex}
        case types.ClauseOr():
            return {"or": [_clause(part) for part in clause.or_]}
        case types.ClauseAnd():
            return {"and": [_clause(part) for part in clause.and_]}
    raise ValueError(f"{clause!r} is of an unknown kind")


def _model(provider: str, model: types.ModelInfo) -> list[Any]:
    if isinstance(model.prices, list):
        dated: list[list[Any]] = [
            [_condition(item.constraint), _prices(item.prices)] for item in model.prices
        ]
    else:
        dated = [[None, _prices(model.prices)]]
    if _is_free(provider, model.id) and not any(prices for _, prices in dated):
        dated = [[None, {"input_tokens": "0", "output_tokens": "0"}]]
    variants = [
        [dict(sorted(variant.when.items())), _condition(variant.constraint), _prices(variant.prices)]
        for variant in model.price_variants or ()
    ]
    least = LEAST_AUDIO_SECONDS.get((provider, model.id), 0)
    row = [model.id, _clause(model.match), dated]
    if variants or least:
        row.append(variants)
    if least:
        row.append(least)
    return row


def _is_free(provider: str, model: str) -> bool:
    suffix = FREE_SUFFIXES.get(provider)
    return (provider, model) in FREE_MODELS or (suffix is not None and model.endswith(suffix))


def _condition(constraint: object) -> object:
    match constraint:
        case None:
            return None
        case types.StartDateConstraint():
            return constraint.start_date.isoformat()
        case types.TimeOfDateConstraint():
            return [_time(constraint.start_time), _time(constraint.end_time)]
    raise ValueError(f"{constraint!r} is of an unknown kind")


def _time(value: time) -> str:
    if value.tzinfo is not None:
        value = datetime.combine(date(1970, 1, 1), value).astimezone(UTC).time()
    return value.isoformat()


def _prices(prices: types.ModelPrice) -> dict[str, Any]:
    return {
        name: _price(getattr(prices, unit["price_key"]))
        for name, unit in unit_data.items()
        if getattr(prices, unit["price_key"]) is not None
    }


def _price(price: types.TieredPrices | Decimal) -> object:
    if isinstance(price, types.TieredPrices):
        return [_decimal(price.base), [[tier.start, _decimal(tier.price)] for tier in price.tiers]]
    return _decimal(price)


def _decimal(price: Decimal) -> str:
    return f"{DIGITS.create_decimal(price).normalize():f}"


def main() -> None:
    """Write the file named by the first argument, or the one in the package."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    data = compiled()
    file.write_bytes(data)
    print(f"{file.name}: {PriceBook(data).version}, {len(data)} bytes")


if __name__ == "__main__":
    main()
