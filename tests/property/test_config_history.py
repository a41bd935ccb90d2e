"""Undoing what was recorded since a version gives the catalog that was in force then, whatever was edited."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import msgspec
from hypothesis import strategies as st

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.limits import Limits
from llm_gateway.core.errors import Conflict, NotFound, Unprocessable
from llm_gateway.flow.config.rows.budgets import BudgetUpdate, StoredBudget
from llm_gateway.flow.config.rows.change import Change
from llm_gateway.flow.config.rows.prices import PriceUpdate, StoredPrice
from llm_gateway.flow.config.rows.store import CatalogEdit
from llm_gateway.flow.config.rows.tenants import ProjectUpdate, StoredProject, StoredTenant, TenantUpdate
from tests.fakes.catalog_edits import EDIT, KEYS, apply
from tests.fakes.stores import Store, opened

MEMBERS = ("providers", "credentials", "models", "task_types", "prices", "tenants", "projects", "budgets")
LIMITS = st.sampled_from([None, Limits(), Limits(requests_per_minute=5, tokens_per_day=0)])
TENANT = st.fixed_dictionaries({}, optional={"name": KEYS, "limits": LIMITS, "is_enabled": st.booleans()})
PROJECT = st.fixed_dictionaries({}, optional={"name": KEYS, "tenant": st.sampled_from([None, "a", "b"])})
BUDGET = st.fixed_dictionaries(
    {},
    optional={
        "amount_nano_usd": st.integers(0, 10**12),
        "models": st.sampled_from([None, ("m",), ("m*", "n")]),
        "period": st.sampled_from(["day", "month", "total"]),
    },
)
PRICE = st.fixed_dictionaries(
    {},
    optional={
        "prices": st.sampled_from([{"input_tokens": "1"}, {"input_tokens": "0.5", "output_tokens": "2"}]),
        "valid_from": st.sampled_from([None, 0, 1_700_000_000_000_000]),
    },
)
OTHER_EDIT: st.SearchStrategy[tuple[Any, ...]] = st.one_of(
    st.tuples(st.just(TenantUpdate), st.sampled_from(["create", "update", "delete"]), KEYS, TENANT),
    st.tuples(st.just(ProjectUpdate), st.sampled_from(["create", "update", "delete"]), KEYS, PROJECT),
    st.tuples(st.just(BudgetUpdate), st.sampled_from(["create", "update", "reset", "delete"]), KEYS, BUDGET),
    st.tuples(
        st.just(PriceUpdate), st.sampled_from(["create", "update", "delete"]), st.integers(1, 3), PRICE
    ),
    st.tuples(
        st.just(None), st.sampled_from(["disable", "revoke", "import"]), st.integers(1, 4), st.just({})
    ),
)
NEEDED: dict[Any, dict[str, Any]] = {
    BudgetUpdate: {"scope": "all", "amount_nano_usd": 5, "period": "day"},
    PriceUpdate: {"provider": "a", "upstream_model": "m", "prices": {"input_tokens": "3"}},
}
STORED: dict[Any, Any] = {
    TenantUpdate: StoredTenant,
    ProjectUpdate: StoredProject,
    BudgetUpdate: StoredBudget,
    PriceUpdate: StoredPrice,
}


async def apply_other(store: Store, update: Any, verb: str, ref: Any, fields: dict[str, Any]) -> None:
    editor = store.editor
    if verb == "disable":
        await editor.set_enabled(ref, is_enabled=False)
    elif verb == "revoke":
        await editor.revoke_credential(ref)
    elif verb == "import":
        await import_rows(store)
    elif verb == "create":
        named = {} if update is PriceUpdate else {"name": ref}
        await editor.create(update(**named | NEEDED.get(update, {}) | fields))
    elif verb == "update":
        await editor.update(ref, update(**fields))
    elif verb == "reset":
        await editor.reset_budget(ref)
    else:
        await editor.delete(STORED[update], ref)


async def import_rows(store: Store) -> None:
    """Store and delete several rows in one transaction, as one version."""
    rows: Any = store.rows

    async def change(edit: CatalogEdit) -> None:
        changes = []
        for number in range(3):
            known = await edit.find(StoredTenant, f"imported-{number}")
            if known is not None:
                await edit.remove(StoredTenant, known.id)
                changes.append(
                    Change(resource="tenant", id=known.id, before=known, after=None, actor="import")
                )
                continue
            row_id = await edit.add(TenantUpdate(name=f"imported-{number}"))
            made = await edit.find(StoredTenant, row_id)
            changes.append(Change(resource="tenant", id=row_id, before=None, after=made, actor="import"))
        await edit.note(await edit.version(), *changes)

    await rows.edit(change)
    await store.reloader.reload()


def shown(catalog: Catalog) -> dict[str, list[Any]]:
    """Return the rows of a catalog without secrets."""
    found: dict[str, list[Any]] = {}
    for member in MEMBERS:
        found[member] = []
        for row in getattr(catalog, member):
            values = msgspec.structs.asdict(row)
            for secret in ("secret", "key_hash", "previous_key_hash"):
                values.pop(secret, None)
            found[member].append(values)
    return found


@hypothesis.given(st.lists(st.one_of(EDIT, OTHER_EDIT), min_size=1, max_size=14))
@hypothesis.settings(max_examples=200 if os.environ.get("SOAK") == "1" else 30)
async def test_every_version_is_rebuilt_as_it_was(edits: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with opened(None, Path(folder), environ={"SET": "sk-from-env"}) as store:
            first = await store.catalog.load()
            versions = {first.version: shown(first)}
            for edit in edits:
                try:
                    await (apply if len(edit) == 3 else apply_other)(store, *edit)
                except (Conflict, NotFound, Unprocessable):
                    continue
                now = await store.catalog.load()
                versions[now.version] = shown(now)
            for version, rows in versions.items():
                rebuilt = await store.history.catalog(version)
                assert (rebuilt.version, shown(rebuilt)) == (version, rows)
            entries = (await store.history.page(None, 100)).items
            assert [entry.version for entry in entries] == sorted(versions.keys() - {1}, reverse=True)
            assert all(entry.note is not None for entry in entries)
