"""Chooses the public model that answers a query, and those that are tried if it fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

import msgspec

from llm_gateway.core.config.snapshot import Principal, Route
from llm_gateway.core.errors import BadRequest, ModelNotFound
from llm_gateway.core.model_families import FAMILIES, ModelFamily
from llm_gateway.flow.routing.plan import fallback_route
from llm_gateway.surfaces.query.bodies import Query
from llm_gateway.surfaces.query.families import (
    DEFAULT_TASK,
    DEFAULT_TASKS,
    FamilyIndex,
    family_of_model,
    is_chat_model,
    model_of_version,
)

_ENDPOINT: Final = "chat/completions"
_SHOWN: Final = 200
# Of those that are tried because no family can answer.
_MOST_MODELS: Final = 4


class ModelChoice(msgspec.Struct, frozen=True):
    """The public model that is asked first, and those after it; None = those that the catalog names."""

    model: str
    # Whom the answer was to come from, in the client's words: a family or a model.
    asked: str
    fallbacks: tuple[str, ...] | None = None
    # The name that the client knows each model by, if that is another one: a family's.
    labels: Mapping[str, str] = {}

    def label(self, model: str) -> str:
        """Return the client's name of a model."""
        return self.labels.get(model, model)


class ModelChooser:
    """Chooses models for one request of one account."""

    def __init__(
        self, families: FamilyIndex, account: Principal, created_at: int, *, needs_prices: bool = False
    ) -> None:
        """`created_at` is in Unix microseconds. `needs_prices`: models without known prices are no alternatives."""
        self._families = families
        self._snapshot = families.snapshot
        self._account = account
        self._created_at = created_at
        self._needs_prices = needs_prices

    def choose(self, query: Query) -> ModelChoice:
        """Return the choice; raise BadRequest for an unknown task type, ModelNotFound if nothing can answer.

        A model that the client names is taken as it is: whether it exists, and may be used, is for the flow to say.
        """
        tasks = self._names_of_task(query.task_type)
        family = FAMILIES.get(query.model or "")
        if query.model_version is not None:
            return self._of_version(family, query.model_version)
        if family is not None:
            return self._of_family(family, tasks)
        if query.model is not None:
            return ModelChoice(query.model, query.model)
        return self._of_task(tasks, query.task_type)

    def _of_version(self, family: ModelFamily | None, version: str) -> ModelChoice:
        if version in FAMILIES:
            message = f"The field 'model_version' must be a model, not the family '{version}': send that as 'model'."
            raise BadRequest(message, param="model_version")
        model = model_of_version(self._snapshot, family, version)
        if family is None:
            return ModelChoice(model, model)
        owner = family_of_model(version)
        if owner not in {None, family.name}:
            message = (
                f"'model_version' is '{version[:_SHOWN]}', which is of the family '{owner}', and 'model' is "
                f"'{family.name}'. Send a version of '{family.name}', or '{owner}' as 'model'."
            )
            raise BadRequest(message, param="model_version")
        return ModelChoice(model, family.name, None, {model: family.name})

    def _of_family(self, family: ModelFamily, tasks: Iterable[str]) -> ModelChoice:
        model = self._resolve(family.name)
        if model is None:
            served = [name for name in FAMILIES if self._resolve(name) is not None]
            instead = f"Available are: {', '.join(served)}." if served else "No family is available."
            message = (
                f"No model of '{family.name}' is available here: no provider serves one. {instead} "
                "GET /v1/models lists the available models."
            )
            raise ModelNotFound(message, param="model")
        labels = {model: family.name}
        rules = self._snapshot.models.get(model)
        if model not in self._account.models or (rules is not None and rules.fallbacks):
            # The flow says why it may not be used; an administrator's rules are better than ours.
            return ModelChoice(model, family.name, None, labels)
        others = self._alternatives(tasks)
        others.pop(model, None)
        first = model if self._is_usable(model) or not others else next(iter(others))
        fallbacks = tuple(name for name in others if name != first)
        return ModelChoice(first, family.name, fallbacks, {**others, **labels})

    def _of_task(self, names: Iterable[str], task_type: str | None) -> ModelChoice:
        labels = self._alternatives(names) or self._alternatives(self._any_models())
        if not labels:
            # Those that are drained, or that the credential may not use: the flow says so.
            names = (*names, *self._snapshot.explicit_models[:_MOST_MODELS])
            labels = {model: name for name in names if (model := self._resolve(name)) is not None}
        if not labels:
            of = f"the task type '{task_type}'" if task_type else "this query"
            message = (
                f"No model is available for {of}: no provider serves one. Ask the gateway administrator."
            )
            raise ModelNotFound(message, param="task_type" if task_type else "model")
        first, *others = labels
        return ModelChoice(first, labels[first], tuple(others), labels)

    def _alternatives(self, names: Iterable[str]) -> dict[str, str]:
        """Return the models that can be used, best first, each with the family or model that it stands for."""
        labels: dict[str, str] = {}
        for name in names:
            model = self._resolve(name)
            if model is not None and self._is_usable(model):
                labels.setdefault(model, name)
        if not self._needs_prices:
            return labels
        # If there is none with prices, the flow says why the ceiling cannot be kept.
        return {model: name for model, name in labels.items() if self._is_priced(model)} or labels

    def _any_models(self) -> Iterator[str]:
        """Yield the first models of the catalog that can be used, for queries that no family can answer."""
        chatting = filter(is_chat_model, self._snapshot.explicit_models)
        return islice(filter(self._is_usable, chatting), _MOST_MODELS)

    def _names_of_task(self, task_type: str | None) -> tuple[str, ...]:
        name = task_type or DEFAULT_TASK
        tasks = self._snapshot.task_types
        names = tasks.get(name) or DEFAULT_TASKS.get(name)
        if names is None:
            known = ", ".join(sorted({*tasks, *DEFAULT_TASKS}))
            message = f"The field 'task_type' is unknown: '{name[:_SHOWN]}'. Known task types: {known}."
            raise BadRequest(message, param="task_type")
        return names

    def _resolve(self, name: str) -> str | None:
        """Return the public model that a family, or a model, stands for; None if nothing serves it."""
        family = FAMILIES.get(name)
        if family is None:
            return name if self._snapshot.serves(name) else None
        models = self._families.models(family)
        return next(filter(self._is_usable, models), models[0] if models else None)

    def _is_usable(self, model: str) -> bool:
        return self._route(model) is not None

    def _is_priced(self, model: str) -> bool:
        route = self._route(model)
        return route is not None and route.priced(self._created_at) is route

    def _route(self, model: str) -> Route | None:
        return fallback_route(self._snapshot, self._account, model, _ENDPOINT, self._created_at)
