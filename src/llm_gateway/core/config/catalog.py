"""The whole editable configuration as one value: what the admin API writes and the snapshot is built from."""

from __future__ import annotations

import msgspec

from llm_gateway.core.config.accounts import Project, Tenant
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.limits import Budget
from llm_gateway.core.config.models import Model
from llm_gateway.core.config.prices import PriceOverride
from llm_gateway.core.config.providers import Provider
from llm_gateway.core.config.task_types import TaskType


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """One consistent read of the whole configuration."""

    version: int
    providers: tuple[Provider, ...] = ()
    credentials: tuple[Credential, ...] = ()
    models: tuple[Model, ...] = ()
    task_types: tuple[TaskType, ...] = ()
    prices: tuple[PriceOverride, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    projects: tuple[Project, ...] = ()
    budgets: tuple[Budget, ...] = ()
    # Stored values that could not be read (a secret that does not open, a missing `env:` variable).
    faults: tuple[Fault, ...] = ()
