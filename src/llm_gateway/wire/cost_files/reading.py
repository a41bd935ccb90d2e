"""Reads a bill in any of the formats, which it recognises by the content."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator

import msgspec

from llm_gateway.wire.cost_files.anthropic_costs import read_anthropic_page
from llm_gateway.wire.cost_files.bill import BillFormat, BillLine, InvalidBill
from llm_gateway.wire.cost_files.focus import FOCUS_MARK, read_focus
from llm_gateway.wire.cost_files.openai_costs import read_openai_csv, read_openai_page

_PageReader = Callable[[bytes, str], Iterator[BillLine]]


class Bill(msgspec.Struct, frozen=True):
    """The lines of a file, and the format that it has."""

    format: BillFormat
    lines: tuple[BillLine, ...]


def read_bill(data: bytes, form: BillFormat | None = None) -> Bill:
    """Return the bill in a file; raise InvalidBill.

    JSON may be one page, a list of pages, or one page a line. `form` overrides what the content looks like.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").strip()
    if not text:
        raise InvalidBill("the file is empty")
    if text[:1] in {b"{", b"["}:
        pages = list(_pages(text))
        if not pages:
            raise InvalidBill("the file holds no costs")
        form = form or _form_of(pages[0])
        if form == "focus":
            raise InvalidBill("a FOCUS file is a CSV, and this one is JSON")
        read: _PageReader = read_openai_page if form == "openai" else read_anthropic_page
        lines = [line for number, page in enumerate(pages, 1) for line in read(page, f"page {number}")]
    else:
        try:
            decoded = text.decode()
        except UnicodeDecodeError as error:
            raise InvalidBill(f"the file is not UTF-8 text (byte {error.start})") from None
        head = decoded.partition("\n")[0]
        form = form or ("focus" if FOCUS_MARK in head else "openai")
        if form == "anthropic":
            raise InvalidBill("Anthropic's cost report is JSON, and this file is not")
        try:
            lines = list(read_focus(decoded) if form == "focus" else read_openai_csv(decoded))
        except csv.Error as error:
            raise InvalidBill(f"the file is not valid CSV: {error}") from None
    if not lines:
        raise InvalidBill("the file holds no costs")
    return Bill(form, tuple(lines))


def _pages(text: bytes) -> Iterator[bytes]:
    try:
        if text.startswith(b"["):
            yield from map(bytes, msgspec.json.decode(text, type=list[msgspec.Raw]))
            return
        try:
            yield bytes(msgspec.json.decode(text, type=msgspec.Raw))
        except msgspec.DecodeError:
            for line in text.splitlines():
                if line.strip():
                    yield bytes(msgspec.json.decode(line, type=msgspec.Raw))
    except msgspec.DecodeError as error:
        raise InvalidBill(f"the file is not valid JSON: {error}") from None


class _Shape(msgspec.Struct):
    data: list[dict[str, msgspec.Raw]]


def _form_of(page: bytes) -> BillFormat:
    try:
        shape = msgspec.json.decode(page, type=_Shape)
    except (msgspec.DecodeError, UnicodeDecodeError):
        shape = _Shape([])
    for bucket in shape.data:
        if "start_time" in bucket:
            return "openai"
        if "starting_at" in bucket:
            return "anthropic"
    raise InvalidBill("the file is neither a page of OpenAI's costs nor of Anthropic's cost report")
