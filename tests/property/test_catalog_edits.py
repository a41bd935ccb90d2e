"""Whatever admins try, the stored catalog stays servable, and a refused edit leaves nothing behind."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies as st

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.snapshot import build_snapshot
from llm_gateway.core.errors import Conflict, NotFound, Unprocessable
from tests.fakes.catalog_edits import EDIT, apply
from tests.fakes.stores import KINDS, opened


def rows(catalog: Catalog) -> tuple[Any, ...]:
    return (catalog.version, catalog.providers, catalog.credentials, catalog.models, catalog.task_types)


@hypothesis.given(st.lists(EDIT, min_size=1, max_size=12))
@hypothesis.settings(max_examples=1000 if os.environ.get("SOAK") == "1" else 30)
async def test_edits_are_whole_or_not_at_all(edits: list[tuple[str, Any, dict[str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with opened(None, Path(folder), environ={"SET": "sk-from-env"}) as store:
            for edit in edits:
                before = await store.catalog.load()
                try:
                    await apply(store, *edit)
                except (Conflict, NotFound, Unprocessable):
                    assert rows(await store.catalog.load()) == rows(before), edit
                after = await store.catalog.load()
                assert after.faults == ()
                served = store.holder.current
                assert served is not None
                assert served.version == after.version, "what is stored is in force when an edit answers"
                expected = build_snapshot(after, KINDS)
                assert served.accounts.keys() == expected.accounts.keys()
                assert (served.models, served.task_types) == (expected.models, expected.task_types)
                assert [p.provider for p in served.providers] == [p.provider for p in expected.providers]
