"""Chooses between the two ways of what is there in C and in Python."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal
from unittest.mock import patch

import msgspec

from llm_gateway.core.ledger import served_lines
from llm_gateway.flow.request import direct_meter
from llm_gateway.infra import shared_lock
from llm_gateway.infra.budgets import slot_holder
from llm_gateway.infra.logs import access_log
from llm_gateway.infra.upstream.http11 import quiet_relay, whole_chunks, whole_reply
from llm_gateway.providers.openai import event_stream, quiet_run, usual_event
from llm_gateway.sockets import head_join, head_match, write_batch
from llm_gateway.wire import field_cutter, field_sizes
from tests.services import without_a_part

Way = Literal["python", "compiled"]
WAYS: tuple[Way, ...] = ("python", "compiled")
_PARTS = (
    quiet_relay,
    whole_chunks,
    whole_reply,
    quiet_run,
    shared_lock,
    usual_event,
    head_join,
    head_match,
    write_batch,
    field_cutter,
    field_sizes,
    slot_holder,
    served_lines,
)


def need_compiled() -> None:
    """End a test of compiled code where there is none."""
    if not all(part.IS_COMPILED for part in _PARTS):
        without_a_part("nothing is compiled: install a C compiler and Python's headers, then install again")


@contextmanager
def searching(*, wide: bool) -> Iterator[None]:
    """Let compiled code search texts with the widest registers of this processor, or with those that all have."""
    need_compiled()
    configure = importlib.import_module("llm_gateway.wire._field_cutter").configure
    configure(msgspec.Raw, wide)
    try:
        yield
    finally:
        configure(msgspec.Raw, True)


@contextmanager
def relaying(way: Way) -> Iterator[None]:
    """Relay plain chunks in one of the ways."""
    if way == "compiled":
        need_compiled()
    receivers = {"python": quiet_relay.python_receiver, "compiled": quiet_relay.compiled_receiver}
    with patch.object(quiet_relay, "make_receiver", receivers[way]):
        yield


@contextmanager
def reading_events(way: Way) -> Iterator[None]:
    """Recognise usual chunks, or parse all that are read."""
    if way == "compiled":
        need_compiled()
    ways = {"python": usual_event.python_usual_event, "compiled": usual_event.usual_event}
    ends = {"python": usual_event.python_usual_end, "compiled": usual_event.usual_end}
    with (
        patch.object(event_stream, "usual_event", ways[way]),
        patch.object(event_stream, "usual_end", ends[way]),
    ):
        yield


@contextmanager
def joining_lines(way: Way) -> Iterator[None]:
    """Join the lines of served requests in one of the ways."""
    if way == "compiled":
        need_compiled()
    compiled = way == "compiled"
    with (
        patch.object(
            direct_meter,
            "begin_line",
            served_lines.begin_line if compiled else served_lines.python_begin_line,
        ),
        patch.object(
            direct_meter, "end_line", served_lines.end_line if compiled else served_lines.python_end_line
        ),
        patch.object(
            access_log, "log_line", served_lines.log_line if compiled else served_lines.python_log_line
        ),
    ):
        yield


@contextmanager
def locking(way: Way) -> Iterator[None]:
    """Lock the files that workers map in one of the ways, in this process."""
    if way == "compiled":
        need_compiled()
    makers = {"python": shared_lock.python_shared_lock, "compiled": shared_lock.compiled_shared_lock}
    kinds = {"python": "flock", "compiled": "cell"}
    with (
        patch.object(shared_lock, "make_shared_lock", makers[way]),
        patch.object(shared_lock, "LOCK_KIND", kinds[way]),
    ):
        yield


def program_locking(way: Way, program: str) -> str:
    """Return a program that locks the files that workers map in one of the ways."""
    if way == "compiled":
        need_compiled()
        return program
    return f"import sys\nsys.modules['llm_gateway.infra._shared_lock'] = None\n{program}"
