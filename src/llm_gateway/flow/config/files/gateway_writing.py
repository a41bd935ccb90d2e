"""Writes rows of the catalog as a configuration file in the gateway's own format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import UNSET

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.model_patterns import is_glob
from llm_gateway.core.config.models import RetryRules, Timeouts
from llm_gateway.core.config.prices import read_price
from llm_gateway.flow.config.files.contents import Finding
from llm_gateway.flow.config.files.gateway_reading import COSTS, price_text
from llm_gateway.flow.config.rows.base import StoredRow
from llm_gateway.flow.config.rows.models import StoredModel
from llm_gateway.flow.config.rows.prices import StoredPrice
from llm_gateway.flow.config.rows.providers import StoredProvider
from llm_gateway.flow.config.rows.task_types import StoredTaskType

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_REFERENCE: Final = "env:"
# Provider and model fields that are written unless they have these values, which new rows get.
_PROVIDER_DEFAULTS: Final[Mapping[str, object]] = {
    "weight": 1, "is_enabled": True, "oauth2": None, "api_version": None, "stream_usage": None,
    "probe_interval": None, "price_provider": None,
}  # fmt: skip
_MODEL_DEFAULTS: Final[Mapping[str, object]] = {
    "strategy": "weighted_round_robin", "weights": {}, "fallbacks": (), "context_fallbacks": (),
    "policy_fallbacks": (), "timeouts": Timeouts(), "retry": RetryRules(), "affinity": None, "cache": None,
}  # fmt: skip


class StoredRows(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of the catalog that a file can hold, each kind by id."""

    providers: tuple[StoredProvider, ...] = ()
    models: tuple[StoredModel, ...] = ()
    prices: tuple[StoredPrice, ...] = ()
    task_types: tuple[StoredTaskType, ...] = ()


class WrittenFile(msgspec.Struct, frozen=True):
    """A file, and what of the rows it does not hold."""

    text: str
    findings: tuple[Finding, ...]


def write_gateway_file(rows: StoredRows) -> WrittenFile:
    """Return a file from which an empty catalog gets the same rows, but for what `findings` name."""
    writer = _Writer(rows)
    # Read in any case, so that an empty catalog gives a file that can be read.
    document = writer.document() or {"providers": {}}
    return WrittenFile(_dump(document), tuple(writer.findings))


class _Writer:
    def __init__(self, rows: StoredRows) -> None:
        self._rows = rows
        self.findings: list[Finding] = []
        # Names that one provider alone serves under one name are written as models, as the older gateway had them.
        names = Counter(name for row in rows.providers for name in self._mapping(row) if not is_glob(name))
        self._single = {name for name, count in names.items() if count == 1}
        self._costs = self._short_prices()

    def document(self) -> dict[str, Any]:
        providers = {row.provider_key: self._provider(row) for row in self._rows.providers}
        models = self._models()
        prices = [self._price(row) for row in self._rows.prices if row.id not in self._costs.values()]
        tasks = {row.name: list(row.models) for row in self._rows.task_types if row.models is not UNSET}
        for row in (*self._rows.prices, *self._rows.task_types):
            self._check_readable(row)
        sections = {"providers": providers, "models": models, "prices": prices, "task_types": tasks}
        return {name: content for name, content in sections.items() if content}

    def _provider(self, row: StoredProvider) -> dict[str, Any]:
        self._check_readable(row)
        entry: dict[str, Any] = {"provider_type": row.provider_type, "base_url": row.api_base}
        if row.api_key is not None and row.api_key.startswith(_REFERENCE):
            entry["api_key_env"] = row.api_key.removeprefix(_REFERENCE)
        elif row.api_key is not None:
            self.findings.append(
                Finding(
                    f"providers.{row.provider_key}.api_key",
                    "dropped",
                    "it is encrypted in the database and not exported; where this file is imported, add api_key_env"
                    " with the name of a variable that holds the key",
                )
            )
        mapping = self._mapping(row)
        kept = {name: upstream for name, upstream in mapping.items() if name not in self._single}
        # One that cannot be read must not look like one that serves every model.
        if kept or (not mapping and row.model_mapping is not UNSET):
            entry["model_mapping"] = kept
        entry |= _given(row, _PROVIDER_DEFAULTS)
        return entry

    def _mapping(self, row: StoredProvider) -> dict[str, str]:
        return {} if row.model_mapping is UNSET else row.model_mapping

    def _models(self) -> dict[str, Any]:
        settings = {row.name: row for row in self._rows.models}
        served = {
            name: (row.provider_key, upstream)
            for row in self._rows.providers
            for name, upstream in self._mapping(row).items()
            if name in self._single
        }
        prices = {row.id: row for row in self._rows.prices}
        entries: dict[str, Any] = {}
        for name in sorted({*settings, *served}):
            entry: dict[str, Any] = {}
            if name in served:
                provider, upstream = served[name]
                entry |= {"provider": provider, "physical_name": upstream}
                if name in self._costs:
                    entry |= _short_costs(prices[self._costs[name]])
            if name in settings:
                self._check_readable(settings[name])
                given = _given(settings[name], _MODEL_DEFAULTS)
                # A row of defaults is a row, too.
                entry |= given or {"strategy": settings[name].strategy}
            entries[name] = entry
        return entries

    def _short_prices(self) -> dict[str, int]:
        """Return by model the price that its entry can state, where nothing else is priced or named like it."""
        by_place: dict[tuple[str, str], list[StoredPrice]] = {}
        for price in self._rows.prices:
            by_place.setdefault((price.provider, price.upstream_model), []).append(price)
        found: dict[str, int] = {}
        for row in self._rows.providers:
            for name, upstream in self._mapping(row).items():
                here = by_place.get((row.provider_key, upstream), [])
                if name not in self._single or len(here) != 1 or here[0].id in found.values():
                    continue
                if _is_short(here[0]):
                    found[name] = here[0].id
        return found

    def _price(self, row: StoredPrice) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "provider": row.provider,
            "upstream_model": row.upstream_model,
            "prices": {}
            if row.prices is UNSET
            else {unit: _canonical(text) for unit, text in row.prices.items()},
        }
        for name in ("valid_from", "valid_until"):
            moment = getattr(row, name)
            if not isinstance(moment, int):
                continue
            try:
                entry[name] = (_EPOCH + timedelta(microseconds=moment)).isoformat().replace("+00:00", "Z")
            except OverflowError:
                # PostgreSQL's infinity: always.
                self.findings.append(
                    Finding(f"{row.label}: {name}", "dropped", "it is no date, and means always")
                )
        return entry

    def _check_readable(self, row: StoredRow) -> None:
        unreadable = [
            name
            for name in row.__struct_fields__
            if name not in {"created_at", "updated_at"} and getattr(row, name) is UNSET
        ]
        self.findings += [
            Finding(f"{row.label}: {name}", "dropped", "its stored value cannot be read; set it again")
            for name in unreadable
        ]


def _given(row: StoredProvider | StoredModel, defaults: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields of a row that do not have their defaults, as plain values."""
    found: dict[str, Any] = {}
    for name, default in defaults.items():
        value = getattr(row, name)
        if value is UNSET or value == default:
            continue
        plain = msgspec.to_builtins(value)
        found[name] = list(plain) if isinstance(plain, Sequence) and not isinstance(plain, str) else plain
        if isinstance(value, CacheRules):
            found[name] = {key: item for key, item in plain.items() if item is not None}
    return found


def _is_short(price: StoredPrice) -> bool:
    """Tell whether a price is what `cost_per_1k_*` can state: tokens in and out, at all times."""
    if price.prices is UNSET or not price.prices or not set(price.prices) <= set(COSTS.values()):
        return False
    amounts = [read_price(text) for text in price.prices.values()]
    is_priced = all(amount is not None and amount >= 0 for amount in amounts)
    return is_priced and price.valid_from is None and price.valid_until is None


def _short_costs(price: StoredPrice) -> dict[str, Decimal]:
    prices = {} if price.prices is UNSET else price.prices
    return {name: Decimal(prices[unit]) / 1000 for name, unit in COSTS.items() if unit in prices}


def _canonical(text: str) -> str:
    amount = read_price(text)
    return text if amount is None else price_text(amount)


def _dump(document: dict[str, Any]) -> str:
    # Imported on demand: only one command writes YAML.
    import yaml  # noqa: PLC0415

    class Dumper(yaml.SafeDumper):
        """Writes numbers exactly, and what is there twice twice."""

        def ignore_aliases(self, data: object) -> bool:
            del data
            return True

    def represent(dumper: Any, number: Decimal) -> Any:  # noqa: ANN401
        text = price_text(number)
        return dumper.represent_scalar(f"tag:yaml.org,2002:{'float' if '.' in text else 'int'}", text)

    Dumper.add_representer(Decimal, represent)
    text: str = yaml.dump(
        document, Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=110
    )
    return text
