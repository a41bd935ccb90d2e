"""Reads the gateway's own format of configuration files: `providers` and `models`, and what else a catalog has.

Its core is an older gateway's `config.yaml`: a provider has `base_url` and `api_key_env`, a model has `provider`,
`physical_name`, `cost_per_1k_prompt` and `cost_per_1k_completion`. All other fields are called as in the admin API.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

from msgspec import UNSET, UnsetType

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.models import RetryRules, Timeouts
from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.files.contents import FieldKey, FileContents, Finding
from llm_gateway.flow.config.files.fields import (
    Fields,
    Problems,
    lines_of,
    read_number,
    read_text,
    read_whole,
)
from llm_gateway.flow.config.files.nodes import Node, ScalarNode
from llm_gateway.flow.config.rows.base import RowUpdate
from llm_gateway.flow.config.rows.models import ModelUpdate
from llm_gateway.flow.config.rows.prices import PriceUpdate
from llm_gateway.flow.config.rows.providers import ProviderUpdate
from llm_gateway.flow.config.rows.task_types import TaskTypeUpdate

SECTIONS: Final = ("providers", "models", "prices", "task_types")
# What the price book calls the two sides that `cost_per_1k_*` has.
COSTS: Final = {"cost_per_1k_prompt": "input_tokens", "cost_per_1k_completion": "output_tokens"}
# The catalog's names for provider fields that files call otherwise.
_PROVIDER_NAMES: Final = {"api_base": "base_url"}
_PROVIDER_FIELDS: Final = (
    "provider_type", "model_mapping", "weight", "is_enabled", "oauth2", "api_version", "stream_usage",
    "probe_interval", "price_provider",
)  # fmt: skip
_MODEL_FIELDS: Final = (
    "strategy", "weights", "fallbacks", "context_fallbacks", "policy_fallbacks", "timeouts", "retry", "affinity",
    "cache",
)  # fmt: skip
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAMED_TEXTS: Final = "must be names and their values"


def read_gateway_file(root: Node, forbidden_variables: frozenset[str]) -> FileContents:
    """Return the rows of a file; raise InvalidConfigFile with a sentence for each problem.

    `forbidden_variables` are names of the gateway's own secrets, which no provider may be sent.
    """
    return _Reader(root, forbidden_variables).read()


def per_million(per_thousand: Decimal) -> str:
    """Return the price of a million as the catalog stores it, given that of a thousand."""
    return price_text(per_thousand * 1000)


def price_text(price: Decimal) -> str:
    """Return a price as the catalog stores it: decimal, without an exponent and without zeros at its end."""
    text = format(price, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


class _Reader:
    def __init__(self, root: Node, forbidden_variables: frozenset[str]) -> None:
        self._problems = Problems()
        self._root = Fields(root, "", self._problems)
        self._forbidden = forbidden_variables
        self._places: dict[FieldKey, str] = {}
        self._findings: list[Finding] = []
        # What `models` add to the mappings of providers, and the prices of what they name.
        self._served: dict[str, dict[str, str]] = {}
        # By provider, the line and the field that named it first.
        self._named_in: dict[str, tuple[int, str]] = {}
        self._costs: dict[tuple[str, str], tuple[dict[str, str], str]] = {}

    def read(self) -> FileContents:
        models = self._models()
        providers = self._providers()
        prices = [*self._model_prices(), *self._prices()]
        tasks = self._task_types()
        self._root.finish()
        self._problems.check()
        updates: tuple[RowUpdate[Any], ...] = (*providers, *models, *prices, *tasks)
        return FileContents(
            format="gateway", updates=updates, places=self._places, findings=tuple(self._findings)
        )

    # --- providers ---

    def _providers(self) -> list[ProviderUpdate]:
        section = self._root.inner("providers")
        found = [] if section is None else [self._provider(name, section) for name in section.names]
        known = {update.provider_key for update in found}
        for name, (line, path) in self._named_in.items():
            if name not in known:
                self._problems.add(line, path, f"names {name!r}, which is not under providers")
        return found

    def _provider(self, name: str, section: Fields) -> ProviderUpdate:
        fields = section.inner(name) or Fields(
            ScalarNode(None, section.line_of(name)), f"providers.{name}", self._problems
        )
        if read_text(name) is None:
            section.complain(name, "must have a name")
        mapping = fields.map("model_mapping", read_text, _NAMED_TEXTS)
        served = self._served.get(name)
        if served is not None:
            mapping = {**({} if mapping is UNSET else mapping), **served}
        update = ProviderUpdate(
            provider_key=name,
            provider_type=fields.text("provider_type"),
            api_base=fields.text("base_url"),
            secret=self._secret(fields),
            model_mapping=mapping,
            weight=fields.whole("weight"),
            is_enabled=fields.flag("is_enabled"),
            oauth2=self._oauth2(fields),
            api_version=_or_null(fields, "api_version", fields.text("api_version")),
            stream_usage=_or_null(fields, "stream_usage", fields.flag("stream_usage")),
            probe_interval=_or_null(fields, "probe_interval", fields.real("probe_interval")),
            price_provider=_or_null(fields, "price_provider", fields.text("price_provider")),
        )
        fields.finish()
        self._place("provider", name, fields, section.line_of(name), (*_PROVIDER_FIELDS, *_PROVIDER_NAMES))
        for field in ("api_key", "api_key_env"):
            if field in fields.names:
                place = f"line {fields.line_of(field)}: {fields.path_of(field)}"
                self._places["provider", name, "api_key"] = place
        return update

    def _secret(self, fields: Fields) -> Secret | UnsetType | None:
        variable, key = fields.text("api_key_env"), fields.text("api_key")
        if variable is UNSET and key is UNSET:
            is_none = fields.is_null("api_key_env") or fields.is_null("api_key")
            return None if is_none else UNSET
        if variable is not UNSET and key is not UNSET:
            fields.complain("api_key", "must not be there along with api_key_env; keep api_key_env")
        if variable is UNSET:
            text = str(key)
            if text.startswith("env:"):
                fields.complain("api_key", "must be the key itself; write api_key_env for a variable")
            return Secret(text)
        name = str(variable)
        if not _VARIABLE.fullmatch(name):
            fields.complain("api_key_env", "must be the name of an environment variable, not the key itself")
        elif name.upper() in self._forbidden:
            fields.complain(
                "api_key_env", f"must not be {name}, which is a secret of the gateway and not of a provider"
            )
        return Secret(f"env:{name}")

    @staticmethod
    def _oauth2(fields: Fields) -> ClientCredentials | UnsetType | None:
        inner = fields.inner("oauth2")
        if inner is None:
            return None if fields.is_null("oauth2") else UNSET
        url, client, scope = inner.text("token_url"), inner.text("client_id"), inner.text("scope")
        inner.finish()
        for name, value in (("token_url", url), ("client_id", client)):
            if value is UNSET:
                inner.complain(name, "is required")
        return ClientCredentials(
            token_url=str(url), client_id=str(client), scope=None if scope is UNSET else scope
        )

    # --- models ---

    def _models(self) -> list[ModelUpdate]:
        section = self._root.inner("models")
        if section is None:
            return []
        found = [self._model(name, section) for name in section.names]
        return [update for update in found if len(update.given()) > 1]

    def _model(self, name: str, section: Fields) -> ModelUpdate:
        fields = section.inner(name) or Fields(
            ScalarNode(None, section.line_of(name)), f"models.{name}", self._problems
        )
        self._serve(name, fields)
        cache = fields.inner("cache")
        update = ModelUpdate(
            name=name,
            strategy=fields.text("strategy"),
            weights=fields.map("weights", read_whole, "must be names of providers and whole numbers"),
            fallbacks=fields.texts("fallbacks"),
            context_fallbacks=fields.texts("context_fallbacks"),
            policy_fallbacks=fields.texts("policy_fallbacks"),
            timeouts=_timeouts(fields),
            retry=_retry(fields),
            affinity=_or_null(fields, "affinity", fields.text("affinity")),
            cache=_or_null(fields, "cache", UNSET if cache is None else _cache(cache)),
        )
        fields.finish()
        self._place("model", name, fields, section.line_of(name), _MODEL_FIELDS)
        return update

    def _serve(self, name: str, fields: Fields) -> None:
        """Note which provider serves the model under which name, and what that costs."""
        provider, physical = fields.text("provider"), fields.text("physical_name")
        if fields.get("max_tokens") is not None:
            message = "the gateway knows no limits of models; providers enforce their own"
            self._findings.append(
                Finding(fields.path_of("max_tokens"), "dropped", message, fields.line_of("max_tokens"))
            )
        costs = {
            unit: cost for field, unit in COSTS.items() if (cost := self._cost(fields, field)) is not UNSET
        }
        if provider is UNSET:
            for field in ("physical_name", *COSTS):
                if field in fields.names:
                    fields.complain(field, "needs a provider beside it")
            return
        upstream = name if physical is UNSET else physical
        self._served.setdefault(provider, {})[name] = upstream
        self._named_in.setdefault(provider, (fields.line_of("provider"), fields.path_of("provider")))
        if not costs:
            return
        place = f"line {fields.line_of(next(one for one in COSTS if one in fields.names))}: {fields.path}"
        known = self._costs.setdefault((provider, upstream), (costs, place))
        if known[0] != costs:
            fields.complain(
                next(one for one in COSTS if one in fields.names),
                f"differs from what {upstream!r} costs at {provider!r} by {known[1]}",
            )

    @staticmethod
    def _cost(fields: Fields, name: str) -> str | UnsetType:
        cost = fields.number(name)
        if cost is UNSET:
            return UNSET
        if cost < 0:
            fields.complain(name, "must be 0 or more, in USD for 1,000 tokens")
        return per_million(cost)

    # --- prices and task types ---

    def _model_prices(self) -> list[PriceUpdate]:
        found = []
        for (provider, model), (prices, place) in self._costs.items():
            found.append(
                PriceUpdate(
                    provider=provider, upstream_model=model, prices=prices, valid_from=None, valid_until=None
                )
            )
            self._places["price", f"{provider}/{model}", ""] = place
        return found

    def _prices(self) -> list[PriceUpdate]:
        found = []
        for fields in self._root.items("prices"):
            provider, model = fields.text("provider"), fields.text("upstream_model")
            prices = fields.map("prices", read_number, "must be a number of USD, for tokens per million")
            for name, value in (("provider", provider), ("upstream_model", model), ("prices", prices)):
                if value is UNSET:
                    fields.complain(name, "is required")
            since, until = (
                _or_null(fields, name, fields.time(name)) for name in ("valid_from", "valid_until")
            )
            fields.finish()
            if prices is UNSET:
                continue
            update = PriceUpdate(
                provider=provider,
                upstream_model=model,
                prices={unit: price_text(price) for unit, price in prices.items()},
                valid_from=None if since is UNSET else since,
                valid_until=None if until is UNSET else until,
            )
            found.append(update)
            self._place(
                "price",
                f"{provider}/{model}",
                fields,
                fields.line,
                ("provider", "upstream_model", "prices", "valid_until"),
            )
        return found

    def _task_types(self) -> list[TaskTypeUpdate]:
        section = self._root.inner("task_types")
        if section is None:
            return []
        found = []
        for name in section.names:
            models = section.texts(name)
            if models is UNSET:
                section.complain(name, "must be a list of models, best first")
            found.append(TaskTypeUpdate(name=name, models=models))
            self._places["task type", name, ""] = f"line {section.line_of(name)}: task_types.{name}"
        return found

    def _place(self, resource: str, name: str, fields: Fields, line: int, known: tuple[str, ...]) -> None:
        """Note where the fields of a row stand, and the row itself, in `line`."""
        names = {field: _PROVIDER_NAMES.get(field, field) for field in known}
        self._places[resource, name, ""] = f"line {line}: {fields.path}"
        for field, place in lines_of(fields, names).items():
            self._places[resource, name, field] = place


def _or_null(fields: Fields, name: str, value: Any) -> Any:  # noqa: ANN401 - keeps the type of `value`
    """Return `value`, or None where the field is there and null, which sets it to null."""
    return None if value is UNSET and fields.is_null(name) else value


def _timeouts(fields: Fields) -> Timeouts | UnsetType:
    inner = fields.inner("timeouts")
    if inner is None:
        return UNSET
    values = {name: inner.real(name) for name in Timeouts.__struct_fields__}
    inner.finish()
    return Timeouts(**{name: value for name, value in values.items() if value is not UNSET})


def _retry(fields: Fields) -> RetryRules | UnsetType:
    inner = fields.inner("retry")
    if inner is None:
        return UNSET
    values: dict[str, Any] = {
        **{name: inner.whole(name) for name in ("max_retries", "initial_backoff_ms", "max_backoff_ms")},
        **{name: inner.real(name) for name in ("backoff_factor", "jitter")},
        "retry_cut": inner.flag("retry_cut"),
    }
    inner.finish()
    return RetryRules(**{name: value for name, value in values.items() if value is not UNSET})


def _cache(fields: Fields) -> CacheRules:
    values: dict[str, Any] = {
        "is_enabled": fields.flag("is_enabled"),
        "ttl": fields.real("ttl"),
        "is_shared": fields.flag("is_shared"),
    }
    fields.finish()
    return CacheRules(**{name: value for name, value in values.items() if value is not UNSET})
