"""Task types are stored and read back, on both stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.core.config.task_types import TaskType
from llm_gateway.flow.config.rows.task_types import TaskTypeUpdate
from tests.fakes.stores import Store, opened


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir) as store:
        yield store


async def test_what_is_stored_of_a_task_type_is_what_is_loaded(store: Store) -> None:
    made = await store.editor.create(TaskTypeUpdate(name="summarization", models=("b", "a")))
    catalog = await store.catalog.load()
    assert catalog.task_types == (TaskType(id=made.row.id, name="summarization", models=("b", "a")),)
    served = store.holder.current
    assert served is not None
    assert served.task_types == {"summarization": ("b", "a")}
