"""Stored columns are decoded one by one; a value that cannot be read is a fault and gets a stand-in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from llm_gateway.core.config.faults import Fault
from llm_gateway.flow.config.rows.task_types import StoredTaskType
from llm_gateway.infra.database.catalog.resource import Column, Resource, as_stored

TABLE = sa.Table(
    "examples",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("names", sa.JSON),
    sa.Column("size", sa.Integer),
    sa.Column("is_on", sa.Boolean),
)


class ExampleRow(msgspec.Struct, frozen=True):
    id: int
    name: str
    names: str | None
    size: Any
    is_on: Any


EXAMPLES = Resource(
    stored=StoredTaskType,
    table=TABLE,
    row=ExampleRow,
    name="name",
    searched=("name",),
    columns={
        "names": Column(tuple[str, ...], (), "a list of names"),
        "size": Column(int, 0, "a whole number", (int,)),
    },
)


def read(**changes: Any) -> tuple[dict[str, Any], list[Fault]]:
    values: dict[str, Any] = {"id": 1, "name": "x", "names": '["b","a"]', "size": 5, "is_on": True}
    faults: list[Fault] = []
    return EXAMPLES.read(ExampleRow(**values | changes), "x", faults), faults


def test_what_is_stored_is_read() -> None:
    assert read() == ({"id": 1, "name": "x", "names": ("b", "a"), "size": 5, "is_on": True}, [])


def test_null_stays_none_in_every_column() -> None:
    values, faults = read(names=None, size=None, is_on=None)
    assert (values["names"], values["size"], values["is_on"], faults) == (None, None, None, [])


@pytest.mark.parametrize("names", ["", "{}", "[1]", '"x"', "[", "null", 7])
def test_a_broken_value_is_a_fault_and_gets_its_stand_in(names: Any) -> None:
    values, faults = read(names=names)
    assert values["names"] == ()
    assert faults == [Fault("task type", "x", "names", "names must be a list of names", 1)]


@pytest.mark.parametrize("size", ["many", "1.5", 1.5, ""])
def test_a_number_column_may_hold_anything_in_sqlite(size: Any) -> None:
    values, faults = read(size=size)
    assert (values["size"], [fault.field for fault in faults]) == (0, ["size"])


def test_a_number_stored_as_text_is_read() -> None:
    assert read(size="12")[0]["size"] == 12


def test_every_broken_value_is_named() -> None:
    _, faults = read(names="[1]", size="many")
    assert [fault.field for fault in faults] == ["names", "size"]


@pytest.mark.parametrize(
    ("stored", "flag"),
    [(0, False), (1, True), (2, True), (False, False), ("false", False), (" OFF ", False), ("Yes", True)],
)
def test_sqlites_integers_and_postgresqls_words_are_flags(stored: Any, flag: bool) -> None:
    assert read(is_on=stored)[0]["is_on"] is flag


@pytest.mark.parametrize("stored", ["", "maybe", "o", 0.5, b"1"])
def test_what_is_no_flag_is_a_fault_and_off(stored: Any) -> None:
    values, faults = read(is_on=stored)
    assert not values["is_on"]
    assert [fault.field for fault in faults] == ["is_on"]


def test_bytes_are_no_text() -> None:
    values, faults = read(name=b"x\xff")
    assert values["name"] == "x\ufffd"
    assert [str(fault) for fault in faults] == ["task type 'x': name must be text"]


def test_a_load_reads_json_as_text_in_the_order_of_ids() -> None:
    assert " ".join(str(EXAMPLES.query).split()) == (
        "SELECT examples.id, examples.name, CAST(examples.names AS TEXT) AS names, examples.size, examples.is_on"
        " FROM examples ORDER BY examples.id"
    )
    assert as_stored(TABLE.c.size) is TABLE.c.size


def test_a_resource_may_have_no_name() -> None:
    assert EXAMPLES.name is TABLE.c.name
    nameless = Resource(stored=StoredTaskType, table=TABLE, row=ExampleRow, columns={}, searched=())
    assert nameless.name is None
