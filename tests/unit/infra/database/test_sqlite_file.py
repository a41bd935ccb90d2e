"""The file behind a path is known by its device and inode: replaced, gone, put back."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_gateway.infra.database.sqlite_file import ReplacedFile, SqliteFile


def test_a_file_that_was_never_opened_is_not_missed(tmp_path: Path) -> None:
    file = SqliteFile(tmp_path / "a.db")
    file.check()
    assert file.problem is None


def test_a_file_that_is_replaced_or_gone_is_refused_until_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_text("first")
    file = SqliteFile(path)
    file.opened()
    path.write_text("changed")
    file.check()
    aside = path.rename(tmp_path / "aside.db")
    with pytest.raises(ReplacedFile, match="is gone"):
        file.check()
    path.write_text("second")
    file.opened()
    with pytest.raises(ReplacedFile, match="was replaced by another file"):
        file.check()
    assert file.problem is not None
    assert str(path) in file.problem
    aside.replace(path)
    file.check()
    assert file.problem is None
