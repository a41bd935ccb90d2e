"""Any fact fits into its table: texts are cut, numbers clipped, and the line says the same as the fact."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import asdict

from llm_gateway.infra.database.facts.fitting import TEXT_LIMIT, UNREADABLE, LineReader


class Fact(msgspec.Struct, frozen=True, tag_field="t", tag="fact"):
    name: str
    place: str | None = None
    count: int = 0
    size: int | None = None
    share: float = 0.0


READER = LineReader(Fact)


def test_a_line_that_fits_stays_as_it_is() -> None:
    line = b'{"t":"fact", "name":"a","count":7}'
    [read] = READER.read([line])
    assert asdict(read.fact) == asdict(Fact("a", count=7))
    assert read.json is line


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        (b'{"t":"fact","name":"%b"}' % (b"a" * 300), Fact("a" * TEXT_LIMIT)),
        (b'{"t":"fact","name":"a\\u0000b"}', Fact("a\ufffdb")),
        (b'{"t":"fact","name":"","count":%d}' % 10**40, Fact("", count=2**63 - 1)),
        (b'{"t":"fact","name":"","size":-%d}' % 10**40, Fact("", size=1 - 2**63)),
    ],
)
def test_what_does_not_fit_is_cut_in_both(line: bytes, fact: Fact) -> None:
    [read] = READER.read([line])
    assert asdict(read.fact) == asdict(fact)
    assert msgspec.json.decode(read.json, type=Fact) == fact


@pytest.mark.parametrize(
    "line",
    [
        b'{"t":"fact","name":"%b","count":%d}' % ("\u00e9".encode() * TEXT_LIMIT, 2**63 - 1),
        b'{"t":"fact","name":"","place":"%b","size":-%d}' % (b"a" * TEXT_LIMIT, 2**63 - 1),
    ],
)
def test_the_longest_and_the_largest_that_fit_stay(line: bytes) -> None:
    [read] = READER.read([line])
    assert read.json is line
    assert asdict(read.fact) == asdict(msgspec.json.decode(line, type=Fact))


@pytest.mark.parametrize(
    "line", [b"", b"{", b'{"t":"other"}', b'{"t":"fact","name":1}', b'{"t":"fact","name":"\xff"}']
)
def test_what_is_no_such_fact_is_unreadable(line: bytes) -> None:
    with pytest.raises(UNREADABLE):
        READER.read([line])
