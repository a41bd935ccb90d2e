"""The journal writes each fact as its line, whatever was written before, and repeats open attempts as they were."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.ledger.records import AttemptBegun, UsageRecord
from llm_gateway.infra.journal.files import read_folder
from llm_gateway.infra.journal.writer import FileJournal
from llm_gateway.infra.json_lines import MAX_LINE, to_line
from llm_gateway.sockets.write_batch import ALWAYS, make_write_batch
from tests.fakes.in_memory import FakeClock
from tests.fakes.usage_records import attempt, record

MB = 1024 * 1024
# Also lone surrogates, which are not UTF-8, and a text that is too long for a line beside any other.
_TEXTS = st.one_of(
    st.text(st.characters(codec=None), max_size=40),
    st.integers(0, 2000).map(lambda length: "x" * length),
    st.integers(MAX_LINE - 700, MAX_LINE + 2).map(lambda length: "ü" + "x" * length),
)
_CHANGES = st.fixed_dictionaries(
    {"client_request_id": st.none() | _TEXTS, "model": _TEXTS, "client_ip": st.none() | _TEXTS}
)
_BEGUN = st.builds(lambda number, changes: attempt(str(number), **changes), st.integers(0, 5), _CHANGES)
_ENDED = st.builds(lambda number, changes: record(str(number), **changes), st.integers(0, 5), _CHANGES)


@given(st.lists(st.tuples(st.one_of(_BEGUN, _ENDED), st.booleans(), st.booleans()), max_size=12))
def test_each_fact_is_its_line_and_open_attempts_are_repeated(
    steps: list[tuple[AttemptBegun | UsageRecord, bool, bool]],
) -> None:
    """Some wait for the writes of a batch, and some are followed by these writes."""
    facts = [fact for fact, _, _ in steps]
    open_attempts: dict[str, AttemptBegun] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        batch = make_write_batch(patience=ALWAYS)
        journal = FileJournal(folder, 256 * MB, FakeClock(), batch=batch, reaches_clients=True)
        for fact, waits, writes in steps:
            if isinstance(fact, AttemptBegun):
                if fact.request_id not in open_attempts:
                    # No request begins again while its end waits.
                    batch.make()
                open_attempts[fact.request_id] = fact
                begin = journal.begin_with_writes if waits else journal.begin
                begin(fact)
            else:
                open_attempts.pop(fact.request_id, None)
                end = journal.end_with_writes if waits else journal.end
                end(fact)
            if writes:
                batch.make()
        batch.make()
        [first] = read_folder(folder).files()
        assert (folder / first.name).read_bytes() == b"".join(map(to_line, facts))
        # A journal whose file was deleted begins another one, once it has used up the room that was granted.
        (folder / first.name).unlink()
        large = record("large", tags={str(number): "x" * 500 for number in range(100)})
        for _ in range(MB // len(to_line(large)) + 1):
            journal.end(large)
        written = b"".join((folder / file.name).read_bytes() for file in read_folder(folder).files())
        repeated = b"".join(map(to_line, open_attempts.values()))
        assert written.startswith(repeated + to_line(large))
        journal.close()
