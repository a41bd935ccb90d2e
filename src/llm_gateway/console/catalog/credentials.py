"""Credentials: the keys of clients, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import field_validator, model_validator
from starlette.requests import Request
from starlette.responses import Response

from llm_gateway.console.catalog.new_keys import show_new_key
from llm_gateway.console.control.credential_states import principals_of, state_of
from llm_gateway.console.control.members import last_request, project_names, tenant_names, with_balances
from llm_gateway.console.editing.common_fields import ENABLED, cache_fields, limit_fields
from llm_gateway.console.editing.resource_pages import ResourcePages
from llm_gateway.console.forms.fields import Field
from llm_gateway.console.services import ConsoleServices, services_of
from llm_gateway.flow.accounting.use_now import LimitUse, use_now
from llm_gateway.flow.config.editor import Edited
from llm_gateway.flow.config.rows.credentials import StoredCredential
from llm_gateway.resources.credentials import CredentialChange, NewCredential, shown

_NOTHING_LISTED = object()


class _WithAccess(CredentialChange):
    """A change with one more field: `access` says whether `allowed_models` are all models, those listed, or none."""

    @model_validator(mode="before")
    @classmethod
    def _read_access(cls, values: dict[str, Any]) -> dict[str, Any]:
        values = dict(values)
        access = values.pop("access", None)
        if access == "all":
            values["allowed_models"] = None
        elif access == "none":
            values["allowed_models"] = []
        elif not values.get("allowed_models"):
            values["allowed_models"] = _NOTHING_LISTED
        return values

    @field_validator("cache", mode="before")
    @classmethod
    def _check_cache(cls, value: object) -> object:
        if isinstance(value, dict) and "is_enabled" not in value:
            raise ValueError("choose yes or no: what is given below has no effect otherwise")
        return value

    @field_validator("allowed_models", mode="before")
    @classmethod
    def _check_listed(cls, value: object) -> object:
        if value is _NOTHING_LISTED:
            raise ValueError("name one model at least, or choose all or none above")
        return value


class _New(_WithAccess, NewCredential):
    """A new credential."""


def _shown(row: StoredCredential, warnings: list[str]) -> dict[str, Any]:
    values = shown(row, warnings)
    models = values["allowed_models"]
    return values | {"access": "all" if models is None else "listed" if models else "none"}


def _fields(services: ConsoleServices, row: StoredCredential | None) -> Sequence[Field]:
    del services
    key = (
        "Left empty: one is generated, and shown once."
        if row is None
        else "Left empty: the key stays. One that is typed here replaces it at once; “Rotate” lets the old one work "
        "for a while."
    )
    return (
        Field(name="name", label="Name", required=True, hint="Unique. Usage and budgets name it."),
        Field(name="key", label="Key", kind="secret", hint=key),
        ENABLED,
        Field(
            name="access",
            label="Models",
            kind="choice",
            options=(("all", "All models"), ("listed", "Only those listed below"), ("none", "No models")),
        ),
        Field(
            name="allowed_models",
            label="Listed models",
            kind="lines",
            hint="One a line; globs such as gpt-4o* are allowed.",
        ),
        Field(
            name="tenant",
            label="Tenant",
            suggestions="tenants",
            placeholder="none, or its project's",
            hint="Whose it is: it shares the tenant's limits and budgets.",
        ),
        Field(
            name="project",
            label="Project",
            suggestions="projects",
            placeholder="none",
            hint="It shares the project's limits and budgets, and is of the project's tenant.",
        ),
        Field(
            name="rate_limit",
            label="Requests per second",
            kind="number",
            placeholder="unlimited",
            hint="0 blocks all.",
        ),
        Field(
            name="expires_at",
            label="Expires",
            kind="time",
            placeholder="never",
            hint="Its keys are refused from then on. Such as 2026-12-31T18:00:00Z; UTC unless it has an offset.",
        ),
        Field(
            name="require_pricing",
            label="Refuse models without a known price",
            kind="flag",
        ),
        Field(
            name="trusts_attribution",
            label="Believe the agents and users that its requests name",
            kind="flag",
            hint="Only then do limits and budgets of agents and users apply.",
        ),
        *limit_fields("limits", "Limits of this credential"),
        *limit_fields("agent_limits", "Limits of each agent that its requests name"),
        *limit_fields("user_limits", "Limits of each user that its requests name"),
        *cache_fields("As the model's rules say"),
    )


async def _states(services: ConsoleServices, rows: Sequence[StoredCredential]) -> Sequence[Mapping[str, Any]]:
    now, accounts = services.clock.unix_us(), principals_of(services, rows)
    return [state_of(row, accounts.get(row.id), now) for row in rows]


def _suggestions(services: ConsoleServices) -> Mapping[str, Sequence[str]]:
    return {"tenants": tenant_names(services), "projects": project_names(services)}


async def _detail(request: Request, row: StoredCredential) -> Mapping[str, Any]:
    services = services_of(request)
    account = principals_of(services, [row]).get(row.id)
    budgets = () if account is None else [one.budget for one in account.budgets]
    limits = () if account is None else account.limits
    return {
        "state": state_of(row, account, services.clock.unix_us()),
        "use": [_shown_use(one) for one in use_now(services.use, limits)],
        "budgets": await with_balances(services, budgets),
        "last": await last_request(services, row.name),
    }


def _shown_use(one: LimitUse) -> Mapping[str, Any]:
    whole = max(one.limit, 1)
    account = one.account
    whose = "this credential" if account.scope == "credential" else f"{account.scope} {account.subject}"
    used, held = one.used / whole, one.held / whole
    parts = ((used, "over" if used >= 1 else "spent", "used"), (held, "held", "held"))
    return one._asdict() | {"whose": whose, "parts": parts}


def _written(request: Request, edited: Edited[StoredCredential]) -> Response | None:
    return None if edited.generated_key is None else show_new_key(request, edited.row, edited.generated_key)


PAGES = ResourcePages(
    stored=StoredCredential,
    path="/console/credentials",
    one="credential",
    title="Credentials",
    about="A credential is the key of a client, and what it may do: its models, limits and budgets. The gateway "
    "stores keys only as hashes.",
    empty="There are no credentials. Create one to get a key that clients can send.",
    new=_New,
    change=_WithAccess,
    shown=_shown,
    fields=_fields,
    list_template="catalog/credentials.html",
    form_template="catalog/credential.html",
    defaults={"is_enabled": True, "access": "all"},
    state=_states,
    suggestions=_suggestions,
    detail=_detail,
    written=_written,
)
