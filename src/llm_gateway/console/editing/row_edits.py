"""Edits of a row as a page showed it: whoever sends an outdated form, or the same one twice, overwrites nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from llm_gateway.core.errors import Conflict, PreconditionFailed
from llm_gateway.flow.config.editor import Edited, EditOptions
from llm_gateway.flow.config.rows.base import Row
from llm_gateway.flow.config.rows.store import Versioned

# Other rows may be changed between the check of this one and the edit.
_TRIES = 5


class RowChanged(Conflict):
    """The row is not the one that the page showed."""


async def edit_as_opened(
    find: Callable[[], Awaitable[Versioned[Row]]],
    updated_at: str | None,
    edit: Callable[[Row, EditOptions], Awaitable[Edited[Row]]],
) -> Edited[Row]:
    """Edit the row that `find` returns, if `updated_at` is still its own, as text.

    Raises RowChanged if it is not, Conflict if others change the configuration all the time, and what `edit` raises.
    """
    for _ in range(_TRIES):
        found = await find()
        if str(found.value.updated_at) != updated_at:
            raise RowChanged(
                "This was changed since the page was opened, or the form was sent twice: nothing was done now."
            )
        try:
            return await edit(found.value, EditOptions(if_match=frozenset({found.version})))
        except PreconditionFailed:
            continue
    raise Conflict("The configuration is changed by others all the time. Try again.")
