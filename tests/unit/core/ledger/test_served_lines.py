"""The lines of served requests are whole JSON, also those that only Python can join."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module

import pytest

from llm_gateway.core.ledger import served_lines
from llm_gateway.core.ledger.records import Breakdown
from llm_gateway.core.ledger.served_lines import (
    NUMBERS,
    THOUSANDTHS,
    cost_members,
    python_begin_line,
    python_end_line,
    python_log_line,
    temperature_member,
)
from tests.fakes.compiled_parts import WAYS, Way, need_compiled

KNOWN, CLIENT = '"model":"m"', '"client_ip":null'


def _way(way: Way, name: str) -> Callable[..., bytes | None]:
    if way == "compiled":
        need_compiled()
        return getattr(import_module("llm_gateway.core.ledger._served_lines"), name)  # type: ignore[no-any-return]
    return getattr(served_lines, f"python_{name}")  # type: ignore[no-any-return]


def _end(
    join: Callable[..., bytes | None],
    *,
    version: str | None = "v1",
    cost: int | None = 420,
    breakdown: Breakdown | None = None,
    of_tokens: tuple[int | None, int | None] = (None, None),
    known: str = KNOWN,
) -> bytes | None:
    return join(
        "an-id", 1_750_000_000_123_456, known, CLIENT, 19, 50, 69, 0, 1, 2, "provider", ',"temperature":0.7', None,
        "catalog", None, version, cost, *of_tokens, breakdown, 1000, 1250, None, 400, 300,
    )  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_the_journal_has_each_number_of_a_request(way: Way) -> None:
    begin = _way(way, "begin_line")
    line = begin("an-id", 1_750_000_000_123_456, KNOWN, CLIENT, 400, None)
    assert line == (
        b'{"t":"begin","request_id":"an-id","created_at":1750000000123456,"model":"m","client_ip":null,'
        b'"request_bytes":400,"started_at":null}\n'
    )
    assert b'"started_at":7}' in (begin("an-id", 5, KNOWN, CLIENT, 400, 7) or b"")
    end = _way(way, "end_line")
    line = _end(end, breakdown={"input_tokens": (19, 120), "output_tokens": (50, 300)})
    assert line == _end(end, of_tokens=(120, 300))
    assert line == (
        b'{"t":"end","request_id":"an-id","created_at":1750000000123456,"model":"m","client_ip":null,'
        b'"prompt_tokens":19,"completion_tokens":50,"total_tokens":69,"cached_tokens":0,"reasoning_tokens":1,'
        b'"cache_write_tokens":2,"usage_source":"provider","temperature":0.7,"cost_source":"catalog",'
        b'"price_version":"v1","cost_nano_usd":420,"cost_breakdown":{"input_tokens":[19,120],"output_tokens":[50,300]},'
        b'"upstream_latency_ms":1.0,"latency_ms":1.25,"ttft_ms":null,"request_bytes":400,"response_bytes":300}\n'
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("cost", "shown"),
    [(None, "null"), (0, '"0"'), (420, '"0.00000042"'), (12 * 10**9, '"12"'), (2**63 - 1, '"9223372036.854775807"')],
)  # fmt: skip
def test_the_log_has_the_cost_as_decimal_usd(way: Way, cost: int | None, shown: str) -> None:
    line = _way(way, "log_line")(
        "2025-06-15T15:06:40", 7, "an-id", CLIENT, KNOWN, 19, 50, cost, 60_000_001, 999, 400, 300
    )
    assert line is not None
    assert line.decode() == (
        '{"time":"2025-06-15T15:06:40.007Z","request_id":"an-id","client_ip":null,"model":"m","prompt_tokens":19,'
        f'"completion_tokens":50,"cost_usd":{shown},"latency_ms":60000.001,"ttft_ms":0.999,"request_bytes":400,'
        '"response_bytes":300}\n'
    )


@pytest.mark.parametrize("way", WAYS)
def test_what_is_unusual_is_joined_in_python(way: Way) -> None:
    join = _way(way, "end_line")
    escaped = _end(join, version='a "quoted" one')
    assert escaped is not None
    assert json.loads(escaped)["price_version"] == 'a "quoted" one'
    large = _end(join, cost=2**70, known=KNOWN + "," * 9000)
    assert large == _end(python_end_line, cost=2**70, known=KNOWN + "," * 9000)
    half = _end(join, breakdown={"input_tokens": (0.5, 120)})
    assert half is not None
    assert json.loads(half)["cost_breakdown"] == {"input_tokens": [0.5, 120]}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", ["größe", "\x7f", "\ud800", "\u202e", "long" * 1000])
def test_a_version_that_a_log_could_not_hold_is_not_joined(way: Way, version: str) -> None:
    assert _end(_way(way, "end_line"), version=version) is None
    assert cost_members("catalog", None, version) is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("character", ['"', "\\", "\x1f", "\x7f", "\x80"])
def test_an_escape_is_seen_at_each_place(way: Way, character: str) -> None:
    join = _way(way, "end_line")
    for place in range(17):
        version = "v" * place + character + "v" * (16 - place)
        assert _end(join, version=version) == _end(python_end_line, version=version)
        line = _end(join, breakdown={version: (1, 2)})
        assert line is not None
        assert json.loads(line)["cost_breakdown"] == {version: [1, 2]}


@pytest.mark.parametrize("way", WAYS)
def test_a_line_may_have_any_length(way: Way) -> None:
    join = _way(way, "end_line")
    shortest = len(_end(join) or b"")
    for length in range(8192 - shortest - 10, 8192 - shortest + 10):
        known = KNOWN + " " * length
        assert _end(join, known=known) == _end(python_end_line, known=known)


def test_compiled_functions_take_their_own_number_of_arguments() -> None:
    need_compiled()
    for name in ("begin_line", "end_line", "log_line", "configure"):
        with pytest.raises(TypeError, match="arguments, got 1"):
            _way("compiled", name)(1)
    assert served_lines.begin_line is not python_begin_line
    assert served_lines.log_line is not python_log_line


def test_members_of_costs_and_temperatures_begin_with_a_comma() -> None:
    assert cost_members("catalog", None, "v1") == ',"cost_source":"catalog","price_version":"v1"'
    assert cost_members(None, None, None) == ""


def test_looked_up_texts_are_those_of_the_numbers() -> None:
    assert all(NUMBERS[number] == str(number) for number in (*range(3000), -1, 10**12))
    # Those that are formatted each time are not kept.
    assert len(NUMBERS) < 3000
    for us in (0, 1, 10, 500, 999, 1000, 1234, 60_000_001):
        assert f"{us // 1000}{THOUSANDTHS[us % 1000]}" == repr(us / 1000)
    for temperature in (-0.0, 0.0, 0.7, 1e-7, -1e6, 1.0, 1):
        assert temperature_member(temperature) == f',"temperature":{temperature!r}'
        assert json.loads(f'{{"a":1{temperature_member(temperature)}}}')["temperature"] == temperature
