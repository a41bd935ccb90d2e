"""Facts that come to the journal as lines are kept as those that it encodes itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from llm_gateway.core.ledger.records import AttemptBegun, UsageRecord
from llm_gateway.core.ledger.served import SettledRequest
from llm_gateway.infra.journal.files import read_folder
from llm_gateway.infra.journal.writer import FileJournal
from llm_gateway.infra.json_lines import to_line
from llm_gateway.sockets.write_batch import ALWAYS, make_write_batch
from tests.fakes.in_memory import FakeClock
from tests.fakes.usage_records import attempt, record, served

MB = 1024 * 1024
Fact = AttemptBegun | UsageRecord
_decode = msgspec.json.Decoder(Fact).decode


def facts(folder: Path) -> list[Fact]:
    found: list[Fact] = []
    for file in read_folder(folder).files():
        found += map(_decode, (folder / file.name).read_bytes().splitlines())
    return found


async def test_lines_wait_for_the_writes_of_their_turn_in_their_order(tmp_path: Path) -> None:
    batch = make_write_batch(patience=ALWAYS)
    journal = FileJournal(tmp_path, 64 * MB, FakeClock(), batch=batch, reaches_clients=True)
    settled: list[SettledRequest] = []
    seen: list[list[Fact]] = []
    reply = batch.writer(lambda _data: seen.append(facts(tmp_path)), 10)
    one = served("a")
    journal.begin_known("a", to_line(attempt("a")))
    journal.begin_with_writes(attempt("b"))
    journal.end_served(one, to_line(one.record()), settled.append)
    waited = [journal.has_waiting]
    reply(b"reply")
    assert (facts(tmp_path), settled) == ([], [])
    await asyncio.sleep(0)
    assert seen == [[attempt("a"), attempt("b"), one.record()]]
    assert settled == [one]
    waited.append(journal.has_waiting)
    assert waited == [True, False]
    journal.close()


@pytest.mark.parametrize("is_ended", [False, True])
def test_a_new_file_starts_with_an_attempt_that_came_as_a_line_unless_it_has_ended(
    tmp_path: Path, *, is_ended: bool
) -> None:
    journal = FileJournal(tmp_path, 16 * MB, FakeClock(), batch=make_write_batch(), reaches_clients=True)
    journal.begin_known("long", to_line(attempt("long")))
    if is_ended:
        journal.end_served(served("long"), to_line(served("long").record()))
    number = 0
    while len(read_folder(tmp_path).files()) < 2:
        journal.end(record(str(number)))
        number += 1
    last = read_folder(tmp_path).files()[-1]
    first = _decode((tmp_path / last.name).read_bytes().splitlines()[0])
    assert (first == attempt("long")) is not is_ended
    journal.close()


@pytest.mark.parametrize(("syncs_ends", "reaches_clients"), [(True, True), (False, False)])
def test_lines_of_ends_do_not_wait_for_writes_to_others(
    tmp_path: Path, *, syncs_ends: bool, reaches_clients: bool
) -> None:
    journal = FileJournal(
        tmp_path,
        64 * MB,
        FakeClock(),
        batch=make_write_batch(patience=ALWAYS),
        reaches_clients=reaches_clients,
        syncs_ends=syncs_ends,
    )
    settled: list[SettledRequest] = []
    journal.begin_known("a", to_line(attempt("a")))
    one = served("a")
    journal.end_served(one, to_line(one.record()), settled.append)
    assert facts(tmp_path) == [attempt("a"), one.record()]
    # It was not decoded again, nor made into a record.
    assert settled == [one]
    journal.close()


def test_lines_do_not_wait_without_bounds_nor_without_a_batch(tmp_path: Path) -> None:
    journal = FileJournal(
        tmp_path / "a", 64 * MB, FakeClock(), batch=make_write_batch(), reaches_clients=True
    )
    number = 0
    while not (kept := facts(tmp_path / "a")):
        journal.begin_known(str(number), to_line(attempt(str(number))))
        journal.end_served(served(str(number)), to_line(served(str(number)).record()))
        number += 1
        assert number < 1000
    assert len(kept) in (2 * number - 1, 2 * number)
    alone = FileJournal(tmp_path / "b", 64 * MB, FakeClock())
    alone.begin_known("a", to_line(attempt("a")))
    assert facts(tmp_path / "b") == [attempt("a")]
    for one in (journal, alone):
        one.close()
