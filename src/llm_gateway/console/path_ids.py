"""Ids in the paths of pages."""

from __future__ import annotations

from typing import Final

from starlette.convertors import Convertor, register_url_convertor

from llm_gateway.flow.paging import ID_DIGITS


class _Id(Convertor[int]):
    """An id of so few digits that it is quickly read; a path with more of them is no page's."""

    regex = f"[0-9]{{1,{ID_DIGITS}}}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("id", _Id())

# Parts of the paths of routes.
ROW_ID: Final = "{id:id}"
VERSION: Final = "{version:id}"
