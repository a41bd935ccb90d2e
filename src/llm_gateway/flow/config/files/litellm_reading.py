"""Reads LiteLLM's `config.yaml`, with a finding for each field: mapped, dropped or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from llm_gateway.core.config.model_patterns import is_glob
from llm_gateway.core.config.models import RetryRules, Timeouts
from llm_gateway.core.config.providers import Kind
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.files.contents import FieldKey, FileContents
from llm_gateway.flow.config.files.fields import Fields, Problems, read_text
from llm_gateway.flow.config.files.litellm_deployments import Deployments, ModelDraft, ProviderDraft
from llm_gateway.flow.config.files.litellm_names import DROPPED, OTHERWISE, STRATEGIES
from llm_gateway.flow.config.files.nodes import MappingNode, Node, ScalarNode, SequenceNode
from llm_gateway.flow.config.rows.models import ModelUpdate
from llm_gateway.flow.config.rows.prices import PriceUpdate
from llm_gateway.flow.config.rows.providers import ProviderUpdate

LITELLM_SECTIONS: Final = (
    "model_list", "litellm_settings", "router_settings", "general_settings", "environment_variables",
    "credential_list",
)  # fmt: skip
# Both sections may have them; the router's win.
_FALLBACKS: Final = {
    "fallbacks": "fallbacks",
    "context_window_fallbacks": "context_fallbacks",
    "content_policy_fallbacks": "policy_fallbacks",
}


def read_litellm_file(
    root: Node,
    kinds: Mapping[str, Kind],
    *,
    environ: Mapping[str, str],
    forbidden_variables: frozenset[str],
) -> FileContents:
    """Return the rows of a file, and a finding for each field; raise InvalidConfigFile for values of a wrong type."""
    reader = _Reader(root, Deployments(kinds, environ, forbidden_variables))
    return reader.read()


class _Reader:
    def __init__(self, root: Node, deployments: Deployments) -> None:
        self._problems = Problems()
        self._root = Fields(root, "", self._problems)
        self._made = deployments
        # (model, field) of the fallbacks that are set already.
        self._fallbacks: set[tuple[str, str]] = set()
        self._default_fallbacks: tuple[str, ...] = ()

    def read(self) -> FileContents:
        for entry in self._root.items("credential_list"):
            name, values = entry.text("credential_name"), entry.inner("credential_values")
            if name is not UNSET and values is not None:
                self._made.credentials[name] = values
                self._made.find(entry, "credential_name", "mapped", "used where a deployment names it")
        for entry in self._root.items("model_list"):
            self._made.add(entry)
        for name in ("router_settings", "litellm_settings"):
            section = self._root.inner(name)
            if section is not None:
                self._settings(section, name)
        self._add_default_fallbacks()
        for name in ("general_settings", "environment_variables"):
            section = self._root.inner(name)
            if section is not None:
                for field in section.names:
                    reason = (
                        DROPPED.get(field, OTHERWISE[name]) if name == "general_settings" else OTHERWISE[name]
                    )
                    self._made.find(section, field[:100], "dropped", reason)
        for name in self._root.unread():
            self._made.find(self._root, name[:100], "dropped", "the gateway has nothing of this kind")
        self._problems.check()
        return self._contents()

    # --- settings of the router ---

    def _settings(self, section: Fields, name: str) -> None:
        for theirs, ours in _FALLBACKS.items():
            node = section.get(theirs)
            if node is not None:
                self._take_fallbacks(section, theirs, ours, node)
        defaults = section.texts("default_fallbacks")
        if defaults is not UNSET:
            self._default_fallbacks = defaults
            self._made.find(section, "default_fallbacks", "mapped", "fallbacks of each model without its own")
        aliases = section.get("model_group_alias")
        if aliases is not None:
            self._take_aliases(section, aliases)
        strategy = section.text("routing_strategy")
        if strategy is not UNSET:
            self._take_strategy(section, strategy)
        self._made.drop_rest(section, name)

    def _take_fallbacks(self, section: Fields, theirs: str, ours: str, node: Node) -> None:
        entries = node.items if isinstance(node, SequenceNode) else [node]
        for number, entry in enumerate(entries):
            if not isinstance(entry, MappingNode):
                section.complain(theirs, "must be a list of models and their fallbacks")
                continue
            fields = Fields(entry, f"{section.path_of(theirs)}[{number}]", self._problems)
            for model in fields.names:
                self._take_one(fields, model, ours)

    def _take_one(self, fields: Fields, model: str, ours: str) -> None:
        names = fields.texts(model)
        if names is UNSET:
            return
        names = tuple(name for name in dict.fromkeys(names) if name != model)
        if model == "*" and ours == "fallbacks":
            self._default_fallbacks = names
            self._made.find(fields, model, "mapped", "fallbacks of each model without its own")
        elif is_glob(model) or any(is_glob(name) for name in names):
            self._made.find(fields, model, "dropped", "fallbacks are set for models by name, without * ? [")
        elif not names:
            self._made.find(fields, model, "dropped", "a model is no fallback of its own")
        elif (model, ours) in self._fallbacks:
            self._made.find(
                fields, model, "dropped", f"{ours} of {model!r} are set above, or by router_settings"
            )
        else:
            self._fallbacks.add((model, ours))
            self._model(model, fields, model).values[ours] = names
            self._made.find(fields, model, "mapped", f"{ours} of model {model!r}")

    def _add_default_fallbacks(self) -> None:
        exact = tuple(name for name in self._default_fallbacks if not is_glob(name))
        for model in self._made.names():
            names = tuple(name for name in exact if name != model)
            if names and (model, "fallbacks") not in self._fallbacks:
                self._made.model(model, "default_fallbacks").values["fallbacks"] = names

    def _take_aliases(self, section: Fields, node: Node) -> None:
        fields = Fields(node, section.path_of("model_group_alias"), self._problems)
        for alias in fields.names:
            value = fields.get(alias)
            inner = value.entries.get("model") if isinstance(value, MappingNode) else value
            target = read_text(inner.text or "") if isinstance(inner, ScalarNode) else None
            if target is None:
                fields.complain(alias, "must be the name of a model")
                continue
            servers = [one for one in self._made.providers if target in one.model_mapping]
            if not servers or is_glob(alias):
                self._made.find(
                    fields, alias, "refused", f"no provider of this file serves {target!r} by name"
                )
                continue
            for provider in servers:
                provider.model_mapping.setdefault(alias, provider.model_mapping[target])
            if target in self._made.models and alias not in self._made.models:
                self._made.models[alias] = _as_alias(self._made.models[target], alias)
            self._made.find(fields, alias, "mapped", f"served as {target!r} is")

    def _take_strategy(self, section: Fields, strategy: str) -> None:
        ours = STRATEGIES.get(strategy)
        if ours is None:
            message = "there is no such strategy; weighted_round_robin is used, and failing providers are left alone"
            self._made.find(section, "routing_strategy", "dropped", message)
            return
        for model in self._made.names():
            if sum(model in provider.model_mapping for provider in self._made.providers) > 1:
                self._model(model, section, "routing_strategy").values["strategy"] = ours
        message = f"strategy {ours} of models with several providers"
        self._made.find(section, "routing_strategy", "mapped", message)

    def _model(self, name: str, fields: Fields, field: str) -> ModelDraft:
        return self._made.model(name, f"line {fields.line_of(field)}: {fields.path_of(field)}")

    # --- rows ---

    def _contents(self) -> FileContents:
        made = self._made
        places: dict[FieldKey, str] = {}
        for provider in made.providers:
            places["provider", provider.key, ""] = provider.place
        for name, model in made.models.items():
            places["model", name, ""] = model.place
        for (key, upstream), place in made.price_places.items():
            places["price", f"{key}/{upstream}", ""] = place
        return FileContents(
            format="litellm",
            updates=(
                *(_provider(draft) for draft in made.providers),
                *(_model(name, draft) for name, draft in made.models.items()),
                *(
                    PriceUpdate(
                        provider=key, upstream_model=model, prices=prices, valid_from=None, valid_until=None
                    )
                    for (key, model), prices in made.prices.items()
                ),
            ),
            places=places,
            findings=tuple(made.findings),
        )


def _as_alias(draft: ModelDraft, alias: str) -> ModelDraft:
    """Return the settings of a model for its alias, which is no fallback of its own."""
    values = {
        name: tuple(one for one in value if one != alias) if isinstance(value, tuple) else value
        for name, value in draft.values.items()
    }
    return ModelDraft(draft.place, {name: value for name, value in values.items() if value != ()})


def _provider(draft: ProviderDraft) -> ProviderUpdate:
    update = ProviderUpdate(
        provider_key=draft.key,
        provider_type=draft.kind,
        api_base=UNSET if draft.api_base is None else draft.api_base,
        secret=UNSET if draft.secret is None else Secret(draft.secret),
        model_mapping=draft.model_mapping,
    )
    return (
        update
        if draft.api_version is None
        else msgspec.structs.replace(update, api_version=draft.api_version)
    )


def _model(name: str, draft: ModelDraft) -> ModelUpdate:
    values: dict[str, Any] = dict(draft.values)
    if "timeouts" in values:
        values["timeouts"] = Timeouts(**values["timeouts"])
    if "retry" in values:
        values["retry"] = RetryRules(**values["retry"])
    return ModelUpdate(name=name, **values)
