"""Turns LiteLLM's `model_list` into providers, model settings and prices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, UnsetType

from llm_gateway.core.config.model_patterns import is_glob
from llm_gateway.core.config.providers import Kind
from llm_gateway.flow.config.files.contents import Finding, Verdict
from llm_gateway.flow.config.files.fields import Fields
from llm_gateway.flow.config.files.gateway_reading import price_text
from llm_gateway.flow.config.files.litellm_names import (
    BARE,
    COSTS,
    DROPPED,
    FOREIGN,
    KEY_VARIABLES,
    KINDS,
    OTHERWISE,
    UNSERVED,
)

_VARIABLE: Final = "os.environ/"
_VARIABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PER_MILLION: Final = 1_000_000
_IS_ADDRESS: Final = re.compile(r"[0-9.]+|.*:.*")


class ProviderDraft(msgspec.Struct):
    """A provider that deployments with the same address and key share."""

    key: str
    kind: str
    api_base: str | None
    # The key itself, or `env:NAME`.
    secret: str | None
    api_version: str | None
    place: str
    model_mapping: dict[str, str] = {}


class ModelDraft(msgspec.Struct):
    """What is set for one public model, as fields of a ModelUpdate."""

    place: str
    values: dict[str, Any] = {}


class Destination(msgspec.Struct, frozen=True):
    """Where the deployments of one entry are sent, before it is known which provider that is."""

    kind: str
    api_base: str | None
    secret: str | None
    api_version: str | None


class Refused(Exception):
    """A deployment cannot be served; the message says why."""


class Deployments:
    """Collects the entries of `model_list`; fields that are left over are findings."""

    def __init__(
        self, kinds: Mapping[str, Kind], environ: Mapping[str, str], forbidden_variables: frozenset[str]
    ) -> None:
        self._kinds = kinds
        self._environ = environ
        self._forbidden = forbidden_variables
        self.providers: list[ProviderDraft] = []
        self.models: dict[str, ModelDraft] = {}
        # By provider and upstream model.
        self.prices: dict[tuple[str, str], dict[str, str]] = {}
        self.price_places: dict[tuple[str, str], str] = {}
        self.findings: list[Finding] = []
        self.credentials: dict[str, Fields] = {}

    def model(self, name: str, place: str) -> ModelDraft:
        """Return the settings of a public model, made when they are first asked for."""
        return self.models.setdefault(name, ModelDraft(place))

    def names(self) -> list[str]:
        """Return the public names that providers serve, without globs, each once."""
        names = (name for provider in self.providers for name in provider.model_mapping)
        return [name for name in dict.fromkeys(names) if not is_glob(name)]

    def find(self, fields: Fields, name: str, verdict: Verdict, message: str = "") -> None:
        """Note what became of a field."""
        self.findings.append(Finding(fields.path_of(name), verdict, message, fields.line_of(name)))

    def drop_rest(self, fields: Fields, section: str) -> None:
        """Note of each field that nothing has read why nothing becomes of it."""
        for name in fields.unread():
            self.find(fields, name[:100], "dropped", DROPPED.get(name, OTHERWISE[section]))

    def add(self, entry: Fields) -> None:
        """Take over one entry, or note why it is refused."""
        name, params = entry.text("model_name"), entry.inner("litellm_params")
        if name is UNSET:
            entry.complain("model_name", "is required")
        if params is None:
            entry.complain("litellm_params", "is required")
        if name is UNSET or params is None:
            return
        try:
            self._take_over(entry, name, params)
        except Refused as refused:
            self.findings.append(Finding(entry.path, "refused", str(refused), entry.line))

    def _take_over(self, entry: Fields, name: str, params: Fields) -> None:
        model = self._resolved(params, "model")
        if model is None:
            params.complain("model", "is required")
            return
        kind, upstream = self._kind_and_model(params, model)
        upstream = _mapped(name, upstream, model)
        place = self._place(params, kind)
        provider = self._provider(place, name, upstream, entry)
        provider.model_mapping[name] = upstream
        self.find(entry, "model_name", "mapped", f"model_mapping of provider {provider.key!r}")
        self.find(params, "model", "mapped", f"{upstream!r} at provider {provider.key!r}")
        for field in (
            "api_base",
            "base_url",
            "api_version",
            "custom_llm_provider",
            "litellm_credential_name",
        ):
            if field in params.names:
                self.find(params, field, "mapped", f"provider {provider.key!r}")
        self._settings(entry, params, name, provider)
        info = entry.inner("model_info")
        priced = name if upstream == "*" else upstream
        for fields in (params, *([] if info is None else [info])):
            self._costs(fields, provider.key, priced)
        self.drop_rest(params, "litellm_params")
        if info is not None:
            self.drop_rest(info, "model_info")
        for other in entry.unread():
            self.find(entry, other[:100], "dropped", DROPPED.get(other, OTHERWISE["litellm_params"]))

    # --- the provider ---

    def _kind_and_model(self, params: Fields, model: str) -> tuple[str, str]:
        given = params.text("custom_llm_provider")
        prefix, slash, rest = model.partition("/")
        if given is not UNSET:
            prefix, rest = given, rest if slash and prefix == given else model
        elif not slash:
            return self._bare(params, model), model
        if prefix in FOREIGN:
            raise Refused(f"the gateway has no provider kind for {prefix!r}")
        kind = KINDS.get(prefix)
        if kind is None and given is UNSET and self._has_base(params):
            # A name with a slash, at a server of its own.
            return "openai", model
        if kind is None or kind not in self._kinds:
            raise Refused(f"{prefix[:50]!r} is no provider that the gateway knows")
        if not rest:
            raise Refused("the model has no name after the provider")
        if rest.startswith(UNSERVED):
            raise Refused("the gateway serves chats, completions, embeddings and responses only")
        if prefix == "azure" and rest.startswith(("o1_series/", "gpt5_series/", "responses/")):
            rest = rest.partition("/")[2]
        return kind, rest

    def _bare(self, params: Fields, model: str) -> str:
        if model.startswith(UNSERVED):
            raise Refused("the gateway serves chats, completions, embeddings and responses only")
        for start, kind in BARE:
            if model.startswith(start):
                return kind
        if self._has_base(params):
            return "openai"
        if model == "*":
            raise Refused("it names no provider; write an entry for each, such as openai/*")
        raise Refused("the model names no provider; write openai/... or another one before it")

    @staticmethod
    def _has_base(params: Fields) -> bool:
        return params.get("api_base") is not None or params.get("base_url") is not None

    def _place(self, params: Fields, kind: str) -> Destination:
        name = params.text("litellm_credential_name")
        shared = None
        if name is not UNSET:
            shared = self.credentials.get(name)
            if shared is None:
                raise Refused(f"credential_list has no {name!r}")
        base = self._resolved(params, "api_base") or self._resolved(params, "base_url")
        version = self._resolved(params, "api_version")
        if shared is not None:
            base = base or self._resolved(shared, "api_base")
            version = version or self._resolved(shared, "api_version")
        if base is None and self._kinds[kind].default_api_base is None:
            raise Refused("it has no api_base, and its provider has no address of its own")
        return Destination(
            kind, base, self._secret(params, shared, kind), version if kind == "azure" else None
        )

    def _secret(self, params: Fields, shared: Fields | None, kind: str) -> str | None:
        for fields in (params, shared):
            key = UNSET if fields is None else fields.text("api_key")
            if fields is None or key is UNSET:
                continue
            variable = _variable_of(key)
            if variable is None:
                if fields is params:
                    self.find(
                        fields, "api_key", "mapped", "the key is stored encrypted; a variable is better"
                    )
                return key
            if variable.upper() in self._forbidden:
                raise Refused(f"api_key names {variable}, which is a secret of the gateway")
            if fields is params:
                self.find(fields, "api_key", "mapped", f"env:{variable}")
            return f"env:{variable}"
        default = KEY_VARIABLES.get(kind)
        if default is None:
            return None
        message = f"it is left out, so the key comes from {default}, as with LiteLLM"
        self.findings.append(Finding(params.path_of("api_key"), "mapped", message, params.line))
        return f"env:{default}"

    def _provider(self, place: Destination, name: str, upstream: str, entry: Fields) -> ProviderDraft:
        for known in self.providers:
            same = Destination(known.kind, known.api_base, known.secret, known.api_version) == place
            if same and known.model_mapping.get(name, upstream) == upstream:
                return known
        taken = {provider.key for provider in self.providers}
        key = first = _key(place, self._kinds[place.kind])
        number = 1
        while key in taken:
            number += 1
            key = f"{first}-{number}"
        made = ProviderDraft(
            key=key,
            kind=place.kind,
            api_base=place.api_base,
            secret=place.secret,
            api_version=place.api_version,
            place=f"line {entry.line}: {entry.path}",
        )
        self.providers.append(made)
        return made

    def _resolved(self, fields: Fields, name: str) -> str | None:
        """Return a field that is no secret, from the environment if it says so; raise Refused."""
        text = fields.text(name)
        if text is UNSET:
            return None
        variable = _variable_of(text)
        if variable is None:
            return text
        if variable.upper() in self._forbidden:
            raise Refused(f"{name} names {variable}, which is a secret of the gateway")
        value = self._environ.get(variable, "").strip()
        if not value:
            raise Refused(f"{name} is to come from the variable {variable}, which is not set")
        return value

    # --- settings and prices ---

    def _settings(self, entry: Fields, params: Fields, name: str, provider: ProviderDraft) -> None:
        place = f"line {entry.line}: {entry.path}"
        weight = params.whole("weight")
        timeouts = {
            ours: seconds
            for theirs, ours in (("timeout", "total"), ("stream_timeout", "first_content"))
            if (seconds := params.real(theirs)) is not UNSET
        }
        retries = params.whole("max_retries")
        found = {
            "weight": weight is not UNSET,
            "timeout": "total" in timeouts,
            "stream_timeout": "first_content" in timeouts,
            "max_retries": retries is not UNSET,
        }
        given = [field for field, is_given in found.items() if is_given]
        if given and is_glob(name):
            for field in given:
                self.find(params, field, "dropped", "only models with a name of their own have settings")
            return
        for field in given:
            values = self.model(name, place).values
            if field == "weight":
                values.setdefault("weights", {})[provider.key] = weight
                self.find(params, field, "mapped", f"weights of model {name!r}")
                continue
            group = "retry" if field == "max_retries" else "timeouts"
            key = {"timeout": "total", "stream_timeout": "first_content"}.get(field, field)
            value: Any = retries if field == "max_retries" else timeouts[key]
            if values.setdefault(group, {}).setdefault(key, value) == value:
                self.find(params, field, "mapped", f"{group}.{key} of model {name!r}")
            else:
                message = f"it differs from an entry above it, and {group} hold for all providers of a model"
                self.find(params, field, "dropped", message)

    def _costs(self, fields: Fields, provider: str, model: str) -> None:
        for name, unit in COSTS.items():
            cost: Decimal | UnsetType = fields.number(name)
            if cost is UNSET:
                continue
            price = price_text(cost * _PER_MILLION)
            prices = self.prices.setdefault((provider, model), {})
            self.price_places.setdefault(
                (provider, model), f"line {fields.line_of(name)}: {fields.path_of(name)}"
            )
            if prices.setdefault(unit, price) == price:
                message = f"price of {model!r} at {provider!r}: {unit} {price} USD per million"
                self.find(fields, name, "mapped", message)
            else:
                self.find(fields, name, "dropped", f"an entry above it has {prices[unit]} for {model!r}")


def _variable_of(text: str) -> str | None:
    """Return the variable that a value is to come from, None for a value as it is; raise Refused."""
    if not text.startswith(_VARIABLE):
        return None
    name = text.removeprefix(_VARIABLE)
    if not _VARIABLE_NAME.fullmatch(name):
        raise Refused("os.environ/ must be followed by the name of a variable")
    return name


def _mapped(public: str, upstream: str, model: str) -> str:
    """Return what `public` is mapped to; raise Refused for a pattern that would have to change names."""
    if not is_glob(upstream):
        return upstream
    if upstream == public or (upstream == "*" and public == "*"):
        return "*"
    if is_glob(public) and public.endswith(f"/{upstream}"):
        prefix = public.removesuffix(f"/{upstream}")
        raise Refused(
            f"the prefix {prefix!r} would have to be taken off each name; name the models, or use {upstream!r} as the"
            f" model_name and PROVIDER_SUFFIX={prefix}"
        )
    raise Refused(f"{public!r} and {model!r} are patterns that differ: the gateway passes names on unchanged")


def _key(place: Destination, kind: Kind) -> str:
    """Return a name for a provider: its kind, with the first part of a host that is not the kind's own."""
    if place.api_base is None:
        return kind.name
    try:
        host = urlsplit(place.api_base).hostname or ""
        own = urlsplit(kind.default_api_base or "").hostname
    except ValueError:
        return kind.name
    if host in {"", own, "localhost"} or _IS_ADDRESS.fullmatch(host):
        return kind.name
    return f"{kind.name}-{host.partition('.')[0]}"
