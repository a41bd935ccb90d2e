"""Which names a row may be given: one that finds it, and for a credential one that tells its usage rows apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.errors import Conflict, Unprocessable
from llm_gateway.flow.config.rows.base import StoredRow
from llm_gateway.flow.config.rows.change import Change
from llm_gateway.flow.config.rows.credentials import StoredCredential
from llm_gateway.flow.config.rows.prices import StoredPrice
from llm_gateway.flow.config.rows.providers import StoredProvider


def check_name(change: Change, catalog: Catalog) -> None:
    """Check the name that `change` gives a row in `catalog`, which it has led to; raise Conflict, Unprocessable.

    Names that are older than the change stay.
    """
    row = change.after
    if row is None or (change.before is not None and change.before.name_or_key == row.name_or_key):
        return
    if isinstance(row, StoredCredential):
        other = next(
            (one.id for one in catalog.credentials if one.name == row.name and one.id != row.id), None
        )
        if other is not None:
            raise Conflict(
                f"A credential with name {row.name!r} exists already (id {other}); usage rows name credentials, so "
                "choose another name",
                param="name",
            )
    elif is_numeric(row):
        field = name_field(row)
        raise Unprocessable(
            f"{field}: must not be digits only, which a path takes for the id of a {row.resource}; add a letter",
            param=field,
        )


def is_numeric(row: StoredRow) -> bool:
    """Tell whether paths take the name of `row` for an id. Credentials and prices are found by their ids only."""
    return not isinstance(row, StoredCredential | StoredPrice) and row.name_or_key.isdigit()


def shared_names(credentials: Iterable[Credential]) -> frozenset[str]:
    """Return the names that several credentials have: rows from before names were unique, or written by SQL."""
    counts = Counter(credential.name for credential in credentials)
    return frozenset(name for name, count in counts.items() if count > 1)


def name_warning(row: StoredRow, shared: frozenset[str]) -> list[str]:
    """Return a sentence when `row` has a name that a new row would not be given; `shared` are credentials' names."""
    if isinstance(row, StoredCredential) and row.name in shared:
        return ["name: another credential has it too, and usage rows do not tell them apart; rename one"]
    if is_numeric(row):
        return [
            f"{name_field(row)}: is digits only, so paths find this {row.resource} by its id {row.id} alone"
        ]
    return []


def name_field(row: StoredRow) -> str:
    """Return the field that holds the name of `row`."""
    return "provider_key" if isinstance(row, StoredProvider) else "name"
