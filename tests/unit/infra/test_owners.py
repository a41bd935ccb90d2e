"""Processes have numbers while they live, and what the dead had is taken over by one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from llm_gateway.infra.owners import Owners


def test_the_lowest_free_number_is_given(tmp_path: Path) -> None:
    first, second = Owners(tmp_path), Owners(tmp_path)
    assert (first.number, second.number) == (0, 1)
    assert second.is_live(0)
    first.close()
    assert not second.is_live(0)
    assert second.is_live(1)
    again = Owners(tmp_path)
    assert again.number == 0
    with pytest.raises(OSError, match="2 processes share"):
        Owners(tmp_path, most=2)
    for owners in (second, again):
        owners.close()


def test_something_is_done_if_one_is_dead_and_nobody_gets_its_number_meanwhile(tmp_path: Path) -> None:
    first, second, third = (Owners(tmp_path) for _ in range(3))
    done: list[int] = []

    def act() -> bool:
        late = Owners(tmp_path)
        done.append(late.number)
        late.close()
        assert not third.if_dead(0, act), "another one is at it"
        return True

    for live in (first.number, second.number):
        assert not second.if_dead(live, act)
    assert not done
    first.close()
    assert second.if_dead(0, act)
    assert done == [3]
    assert not second.if_dead(0, lambda: False)
    again = Owners(tmp_path)
    assert again.number == 0
    # No process can have these.
    assert second.if_dead(-1, lambda: True)
    assert second.if_dead(256, lambda: True)
    for owners in (second, third, again):
        owners.close()


def test_nothing_is_done_if_nobody_can_tell(tmp_path: Path) -> None:
    first, second = Owners(tmp_path), Owners(tmp_path)
    (tmp_path / "owner-7.lock").mkdir()
    with pytest.raises(OSError, match="owner-7"):
        first.if_dead(7, lambda: True)
    for owners in (first, second):
        owners.close()


def test_a_folder_that_is_made_again_says_nothing_of_those_before(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    first, second = Owners(folder), Owners(folder)
    shutil.rmtree(folder)
    third = Owners(folder)
    assert third.number == 0
    with pytest.raises(FileNotFoundError):
        first.if_dead(second.number, lambda: True)
    # It has looked at this one's lock before.
    assert not second.if_dead(first.number, lambda: True)
    for owners in (first, second, third):
        owners.close()
