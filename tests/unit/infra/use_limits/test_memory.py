"""The memory of a ledger grows as it is needed, and is the same for all who map it."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_gateway.infra.use_limits.memory import (
    ACCOUNT_CHUNK,
    CHUNK_CELLS,
    CHUNKS,
    END_OF_HELD,
    FREE_CHUNK,
    HEAD_BYTES,
    KINDS,
    FileMemory,
    LocalMemory,
    new_chunk,
)


def test_the_tables_fit_into_the_head() -> None:
    assert END_OF_HELD * 8 <= HEAD_BYTES


def test_who_maps_the_file_sees_the_same(tmp_path: Path) -> None:
    one = FileMemory(tmp_path / "ledger", "db")
    one.begin()
    other = FileMemory(tmp_path / "ledger", "db")
    assert (one.owners.number, other.owners.number) == (0, 1)
    assert not one.lock.try_lock(), "it is locked when it has been opened"
    other.begin()
    assert one.lock.try_lock()
    number = new_chunk(one, ACCOUNT_CHUNK)
    one.chunk(number)[CHUNK_CELLS - 1] = 77
    assert other.chunk(number)[CHUNK_CELLS - 1] == 77
    assert other.head[KINDS + number] == ACCOUNT_CHUNK
    one.close()
    one.close()
    assert other.lock.try_lock()
    other.close()


def test_a_free_chunk_is_used_first_and_is_empty() -> None:
    memory = LocalMemory()
    first = new_chunk(memory, 1)
    new_chunk(memory, 2)
    memory.chunk(first)[0] = 9
    memory.head[KINDS + first] = FREE_CHUNK
    assert new_chunk(memory, 3) == first
    assert (memory.chunk(first)[0], memory.head[CHUNKS]) == (0, 2)


def test_a_folder_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        FileMemory(tmp_path / "file" / "ledger", "db")
