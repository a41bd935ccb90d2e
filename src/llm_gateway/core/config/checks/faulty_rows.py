"""What a catalog with faulty rows is served as: the rest, and of the faulty rows what is known to be safe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from llm_gateway.core.config.accounts import Project, Tenant
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.limits import Budget
from llm_gateway.core.config.models import Model
from llm_gateway.core.config.providers import Provider
from llm_gateway.core.config.task_types import TaskType

_Owner = TypeVar("_Owner", Tenant, Project)
_DEFAULTS = Model(id=0, name="x")


class UsableCatalog(msgspec.Struct, frozen=True, kw_only=True):
    """A catalog in which every row can be served."""

    catalog: Catalog
    # Providers that get no requests because of their faults.
    left_out: tuple[Provider, ...] = ()
    # The labels of faulty rows that stay as they were: "provider 'x'".
    kept: tuple[str, ...] = ()


def usable_rows(catalog: Catalog, faults: Iterable[Fault], before: Catalog | None) -> UsableCatalog:
    """Return `catalog` without what its `faults` are about; `before` is the valid catalog in force until now.

    - A faulty credential is disabled: its key is refused.
    - A faulty provider, model or task type stays as it was in `before`. Disabled and drained providers do not:
      what is stored of that is followed.
    - Without a `before`, a faulty provider gets no requests, a faulty task type is unknown, and a faulty field of a
      model has its default.
    - A provider whose only fault is its `price_provider` is served: the costs of its requests are unknown.
    - A faulty price override does not apply.
    - A faulty tenant, project or budget stays as it was, too, unless it is disabled now. Without a `before`, a faulty
      tenant or project is disabled, which refuses its credentials, and a faulty budget does not apply.
    """
    fields: dict[tuple[str, int], set[str]] = {}
    for fault in faults:
        fields.setdefault((fault.resource, fault.id), set()).add(fault.field.partition(".")[0])
    if not fields:
        return UsableCatalog(catalog=catalog)
    rows = _Rows(fields, before or Catalog(version=0))
    providers = rows.providers(catalog.providers)
    return UsableCatalog(
        catalog=msgspec.structs.replace(
            catalog,
            providers=providers,
            credentials=tuple(
                msgspec.structs.replace(row, is_enabled=False) if ("credential", row.id) in fields else row
                for row in catalog.credentials
            ),
            models=rows.models(catalog.models),
            task_types=rows.task_types(catalog.task_types),
            prices=tuple(row for row in catalog.prices if ("price", row.id) not in fields),
            tenants=rows.owners("tenant", catalog.tenants, rows.before.tenants),
            projects=rows.owners("project", catalog.projects, rows.before.projects),
            budgets=rows.budgets(catalog.budgets),
            faults=(),
        ),
        left_out=tuple(rows.left_out),
        kept=tuple(rows.kept),
    )


class _Rows:
    """Chooses what is served of faulty rows."""

    def __init__(self, fields: dict[tuple[str, int], set[str]], before: Catalog) -> None:
        self._fields = fields
        self.before = before
        self.left_out: list[Provider] = []
        self.kept: list[str] = []

    def providers(self, rows: tuple[Provider, ...]) -> tuple[Provider, ...]:
        before = {row.id: row for row in self.before.providers if row.is_enabled}
        faulty = {row.id: self._fields.get(("provider", row.id), set()) - {"price_provider"} for row in rows}
        names = {row.provider_key for row in rows if not faulty[row.id]}
        served = []
        for row in rows:
            fields = faulty[row.id]
            last = before.get(row.id)
            if not fields:
                served.append(row)
            elif last is None or not row.is_enabled or last.provider_key in names:
                # A mapping that cannot be read must not look like one that serves every model.
                if "model_mapping" not in fields:
                    self.left_out.append(row)
            else:
                is_drained = row.weight == 0 and "weight" not in fields
                served.append(msgspec.structs.replace(last, weight=0) if is_drained else last)
                self.kept.append(f"provider {row.provider_key!r}")
        return tuple(served)

    def models(self, rows: tuple[Model, ...]) -> tuple[Model, ...]:
        before = {row.id: row for row in self.before.models}
        served = []
        for row in rows:
            fields = self._fields.get(("model", row.id))
            last = before.get(row.id)
            if fields is None:
                served.append(row)
            elif "name" in fields:
                continue
            elif last is None:
                defaults = {field: getattr(_DEFAULTS, field) for field in fields}
                served.append(msgspec.structs.replace(row, **defaults))
            else:
                served.append(msgspec.structs.replace(last, name=row.name))
                self.kept.append(f"model {row.name!r}")
        return tuple(served)

    def task_types(self, rows: tuple[TaskType, ...]) -> tuple[TaskType, ...]:
        before = {row.id: row for row in self.before.task_types}
        served = []
        for row in rows:
            last = before.get(row.id)
            if ("task type", row.id) not in self._fields:
                served.append(row)
            elif last is not None:
                served.append(msgspec.structs.replace(last, name=row.name))
                self.kept.append(f"task type {row.name!r}")
        return tuple(served)

    def owners(
        self, resource: str, rows: tuple[_Owner, ...], rows_before: tuple[_Owner, ...]
    ) -> tuple[_Owner, ...]:
        """Return what is served of tenants, or of projects."""
        before = {row.id: row for row in rows_before}
        served = []
        for row in rows:
            last = before.get(row.id)
            if (resource, row.id) not in self._fields:
                served.append(row)
            elif last is None or not row.is_enabled:
                served.append(msgspec.structs.replace(row, is_enabled=False))
            else:
                served.append(msgspec.structs.replace(last, name=row.name))
                self.kept.append(f"{resource} {row.name!r}")
        return tuple(served)

    def budgets(self, rows: tuple[Budget, ...]) -> tuple[Budget, ...]:
        before = {row.id: row for row in self.before.budgets}
        served = []
        for row in rows:
            fields = self._fields.get(("budget", row.id))
            last = before.get(row.id)
            if fields is None:
                served.append(row)
            elif last is not None and (row.is_enabled or "is_enabled" in fields):
                served.append(last)
                self.kept.append(f"budget {row.name!r}")
        return tuple(served)
