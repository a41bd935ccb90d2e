"""Pages end where they should, and cursors are the gateway's own."""

from __future__ import annotations

import pytest

from llm_gateway.core.errors import Unprocessable
from llm_gateway.flow.paging import Page, cut_page, id_after, make_cursor, read_cursor


def test_a_page_has_a_cursor_only_when_there_is_more() -> None:
    assert cut_page([1, 2], 2, str) == Page([1, 2], None)
    assert cut_page([1, 2, 3], 2, str) == Page([1, 2], make_cursor("2"))
    assert cut_page([], 2, str) == Page([], None)


@pytest.mark.parametrize("place", ["1", "", "1700000000000000.req-ä", "9" * 40])
def test_a_cursor_holds_its_place(place: str) -> None:
    assert read_cursor(make_cursor(place)) == place


def test_a_list_by_id_continues_after_the_cursors_id() -> None:
    assert id_after(None) == 0
    assert id_after(make_cursor("17")) == 17
    assert id_after(make_cursor(str(2**63 - 1))) == 2**63 - 1


@pytest.mark.parametrize(
    "cursor", ["!", "a", "_-8", make_cursor(""), make_cursor("-1"), make_cursor("²"), make_cursor(str(2**63))]
)
def test_other_cursors_are_rejected(cursor: str) -> None:
    with pytest.raises(Unprocessable) as rejected:
        id_after(cursor)
    assert rejected.value.param == "cursor"
