"""A request that is served directly leaves the same facts as one that is metered the general way."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.ledger.records import AttemptBegun, UsageRecord
from llm_gateway.core.ledger.served import KnownFacts, ServedRequest, client_facts, known_facts
from llm_gateway.core.ledger.usage import Usage, UsageDetails
from llm_gateway.flow.accounting.meter import Meter
from llm_gateway.flow.call import Call
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION, Attribution
from llm_gateway.flow.ports.ledger import OnKept
from llm_gateway.flow.request.direct_meter import DirectMeter
from llm_gateway.infra.logs.access_log import _encode
from llm_gateway.infra.metrics.prometheus import Metrics
from llm_gateway.surfaces.openai.dialect import CHAT
from tests.fakes.compiled_parts import WAYS, Way, joining_lines
from tests.fakes.in_memory import FakeGateway, FakeReply, Recorder, ScriptedUpstream, provider
from tests.fakes.prices import (
    CHEAP,
    FRACTIONS,
    FREE,
    INPUT_ALONE,
    PARTS,
    TIERED,
    Amounts,
    prices_of,
    with_prices,
)
from tests.fakes.usage_records import served

_decode_begun = msgspec.json.Decoder(AttemptBegun).decode
_decode_end = msgspec.json.Decoder(UsageRecord).decode
ALL_PRICES = (None, CHEAP, FREE, FRACTIONS, INPUT_ALONE, PARTS, TIERED)
# Names as administrators choose them: most are plain, some need escapes, some are long.
_NAMES = st.sampled_from(
    ["name", 'a "quoted" one', "back\\slash", "größe", "\x7f", "line\nbreak", "n" * 3000]
)
_COUNTS = st.integers(0, 200) | st.sampled_from([2047, 2048, 10**6, 2**53])
_TIMES = st.floats(0, 0.002) | st.floats(0, 100) | st.just(0.0)
_USAGE = st.builds(
    Usage,
    _COUNTS,
    _COUNTS,
    _COUNTS,
    st.just(0) | _COUNTS,
    st.just(0) | _COUNTS,
    st.sampled_from(["provider", "provider/counted"]),
    st.just(0) | _COUNTS,
    st.none() | st.just(UsageDetails(served_tier="flex", quantities={"web_searches": 2})),
)


class LineJournal(Recorder):
    """Keeps the lines, too."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[bytes] = []
        self.told: list[ServedRequest] = []

    def begin_known(self, request_id: str, line: bytes) -> None:
        del request_id
        self.lines.append(line)

    def end_served(self, served: ServedRequest, line: bytes, on_kept: OnKept | None = None) -> None:
        self.lines.append(line)
        self.told.append(served)
        if on_kept is not None:
            on_kept(served)


class Case(msgspec.Struct):
    """What differs from request to request, and from caller to caller."""

    usage: Usage
    waited: float
    upstream: float
    first_token: float | None
    rest: float
    temperature: float | None
    tier: str | None
    attribution: Attribution
    prices: Amounts | None
    names: tuple[str, ...]
    owners: tuple[str | None, str | None]
    client: tuple[str | None, str | None]
    stream: bool
    size: int
    # Taken from the body by the dialect, after the head.
    later_id: str | None = None
    price_version: str = "book-1"


_CASES = st.builds(
    Case,
    _USAGE,
    _TIMES,
    _TIMES,
    st.none() | _TIMES,
    _TIMES,
    st.none() | st.floats(-1e6, 1e6) | st.sampled_from([0.0, -0.0]),
    st.none() | st.none() | st.just("flex"),
    st.just(NO_ATTRIBUTION) | st.just(NO_ATTRIBUTION) | st.just(Attribution(agent="one")),
    st.sampled_from(ALL_PRICES),
    st.tuples(*[st.just("name") | _NAMES] * 2),
    st.tuples(st.none() | _NAMES, st.none() | _NAMES),
    st.tuples(st.none() | _NAMES, st.none() | st.just("10.0.0.1")),
    st.booleans(),
    _COUNTS,
    st.none() | st.none() | st.just("of the body"),
    st.just("book-1") | st.sampled_from(['a "quoted" one', "größe", "\x7f", "v" * 600, "v" * 3000]),
)


def _metered(meter_type: type[Meter], case: Case, journal: LineJournal) -> Meter:
    """Meter one request; the order of the clock's times is the same for both ways."""
    bench = FakeGateway(provider("a"), upstream=ScriptedUpstream(a=lambda _: FakeReply(b"")))
    if case.prices is not None:
        with_prices(bench, a=prices_of(case.prices, version=case.price_version))
    gateway = dataclasses.replace(bench.gateway, journal=journal, observers=(journal,))
    snapshot = gateway.snapshots.current
    assert snapshot is not None
    route = snapshot.route("m")
    assert route is not None
    deployment = route.deployments[0]
    clock = bench.clock
    id_of_client, address = case.client
    call = Call(
        CHAT, "an-id", id_of_client, "/v1/chat/completions", "POST", None, address, clock.monotonic(),
        1_750_000_000_123_456, {}, request_bytes=case.size, attribution=case.attribution,
        client=client_facts(id_of_client, address),
    )  # fmt: skip
    call.client_request_id = case.later_id or call.client_request_id
    meter = meter_type(gateway, call)
    meter.credential, meter.model = case.names
    meter.tenant, meter.project = case.owners
    meter.stream, meter.config_version, meter.temperature = case.stream, 7, case.temperature
    meter.requested_tier = case.tier
    clock.now += case.waited
    known = known_facts(
        KnownFacts(
            credential=case.names[0], tenant=case.owners[0], project=case.owners[1],
            provider=deployment.provider_key, model=case.names[1], upstream_model=deployment.upstream_model,
            endpoint=call.path, method=call.method, stream=case.stream, config_version=7,
        )
    )  # fmt: skip
    if isinstance(meter, DirectMeter) and known is not None:
        meter.attempt_known(known, deployment, clock.monotonic())
    else:
        meter.attempt(deployment, clock.monotonic(), with_writes=True)
    if case.first_token is not None:
        clock.now += case.first_token
        meter.first_content()
    clock.now += case.upstream
    meter.upstream_ended()
    clock.now += case.rest
    meter.response_bytes = case.size
    # Nobody is told: there is no event loop.
    gateway.served.waiting.append(served("another"))
    meter.report("ok", 200, usage=case.usage)
    return meter


@given(_CASES, st.sampled_from(WAYS))
def test_the_journal_holds_the_same_of_both(case: Case, way: Way) -> None:
    direct, general = LineJournal(), LineJournal()
    with joining_lines(way):
        meter = _metered(DirectMeter, case, direct)
    other = _metered(Meter, case, general)
    assert meter.record == other.record
    assert meter.cost_nano_usd == other.cost_nano_usd
    assert meter.reported
    assert all(isinstance(line, bytes) for line in direct.lines)
    if direct.lines:
        begin, end = direct.lines if len(direct.lines) == 2 else (direct.lines[0], None)
        assert [_decode_begun(begin)] == general.begun
        # The reader tells lines by their beginnings.
        assert begin.startswith(b'{"t":"begin"')
        assert begin.endswith(b"}\n")
        if end is not None:
            assert [_decode_end(end)] == general.journalled == [direct.told[0].record()]
            assert end.startswith(b'{"t":"end","')
            assert end.endswith(b"}\n")
            return
    assert direct.journalled == general.journalled


@given(_CASES, st.sampled_from(WAYS))
def test_the_access_log_has_the_same_line_for_both(case: Case, way: Way) -> None:
    journal = LineJournal()
    _metered(DirectMeter, case, journal)
    for one in journal.told:
        with joining_lines(way):
            line = _encode([one])
        assert line == _encode([one.record()])
        assert _encode([one, one.record(), one]) == 3 * line


@given(st.lists(_CASES, max_size=3))
def test_the_metrics_count_both_alike(cases: Sequence[Case]) -> None:
    journal = LineJournal()
    for case in cases:
        _metered(DirectMeter, case, journal)
    one, other = _metrics(), _metrics()
    one.served(journal.told)
    for told in journal.told:
        other.finished(told.record())
    counted, expected = map(_counted, (one, other))
    assert counted.keys() == expected.keys()
    for key, cells in counted.items():
        assert cells == pytest.approx(expected[key])


def _metrics() -> Metrics:
    return Metrics(lambda _: True, lambda: ["a"], credentials=lambda: {"name": None})


def _counted(metrics: Metrics) -> dict[tuple[str, ...], list[float]]:
    return {
        key: [cells[place] for place in range(counters._cells_per_key)]
        for counters in (metrics._requests._counters, metrics._of_credentials._counters)
        for key, cells in counters.own()
    }


def test_a_usual_request_takes_the_short_way() -> None:
    journal = LineJournal()
    case = Case(
        Usage(19, 50, 69), 0.0, 0.5, None, 0.25, 0.7, None, NO_ATTRIBUTION, CHEAP, ("name", "m"), (None, None),
        (None, "10.0.0.1"), False, 400,
    )  # fmt: skip
    _metered(DirectMeter, case, journal)
    assert len(journal.lines) == 2
    assert not journal.begun
    assert not journal.journalled


@pytest.mark.parametrize("prices", ALL_PRICES)
@pytest.mark.parametrize(
    "usage",
    [
        Usage(19, 50, 69), Usage(19, 0, 19), Usage(0, 50, 50), Usage(19, 50, 0), Usage(19, 50, 69, 3),
        Usage(19, 50, 69, 0, 4), Usage(19, 50, 69, 0, 0, "provider", 5), Usage(99, 50, 149), Usage(100, 50, 150),
        Usage(101, 50, 151),
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", WAYS)
def test_tokens_cost_the_same_on_the_short_way(prices: Amounts | None, usage: Usage, way: Way) -> None:
    direct, general = LineJournal(), LineJournal()
    case = Case(
        usage, 0.0, 0.5, None, 0.25, None, None, NO_ATTRIBUTION, prices, ("name", "m"), (None, None),
        (None, "10.0.0.1"), False, 400,
    )  # fmt: skip
    with joining_lines(way):
        _metered(DirectMeter, case, direct)
    other = _metered(Meter, case, general)
    [told] = direct.told
    assert _decode_end(direct.lines[1]) == told.record() == other.record
    assert told.breakdown == told.record().cost_breakdown


@pytest.mark.parametrize("version", ["größe", "\x7f", "v" * 3000])
@pytest.mark.parametrize("way", WAYS)
def test_a_price_version_that_cannot_be_joined_takes_the_general_way(version: str, way: Way) -> None:
    journal = LineJournal()
    case = Case(
        Usage(19, 50, 69), 0.0, 0.5, None, 0.25, None, None, NO_ATTRIBUTION, CHEAP, ("name", "m"), (None, None),
        (None, None), False, 400, price_version=version,
    )  # fmt: skip
    with joining_lines(way):
        meter = _metered(DirectMeter, case, journal)
    # Its attempt has begun by then.
    assert len(journal.lines) == 1
    assert journal.journalled == [meter.record]
    assert journal.journalled[0].price_version == version


def test_every_field_of_a_record_is_in_the_line_or_is_never_set_on_the_short_way() -> None:
    journal = LineJournal()
    case = Case(
        Usage(19, 50, 69, 3, 4, "provider", 5), 0.5, 0.5, 0.25, 0.25, 0.7, None, NO_ATTRIBUTION, CHEAP, ("name", "m"),
        ("tenant", "project"), ("a client's id", "10.0.0.1"), True, 400,
    )  # fmt: skip
    _metered(DirectMeter, case, journal)
    begin, end = map(msgspec.json.decode, journal.lines)
    assert begin.keys() == {"t", *AttemptBegun.__struct_fields__}
    # A request that has one of these takes the general way, or none can.
    general = {
        "error_type",
        "requested_tier",
        "served_tier",
        "quantities",
        "requests",
        "cache_hit",
        "unpriced",
    }
    attributed = {"agent", "end_user", "channel", "soeid", "tags"}
    assert end.keys() == {"t", *UsageRecord.__struct_fields__} - general - attributed
