"""Every panel of every dashboard, asked of a real Prometheus, shows what a load through two workers has sent."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from monitoring import pictures
from monitoring.dashboards import DASHBOARDS
from monitoring.model import Dashboard, Query
from monitoring.reading import PrometheusReader, TimeRange, filled, legend_of
from tests.conftest import Services
from tests.e2e.busy_scene import BusyScene
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.e2e.panel_numbers import EXPECTED, Between, Facts, Row, model, provider
from tests.e2e.scene import Load
from tests.fakes.prometheus_server import INTERVAL, PrometheusServer, extrapolation
from tests.fakes.upstream import FakeUpstream
from tests.services import fresh_database, lent_redis_database

PANELS = [(board, panel) for board in DASHBOARDS for panel in board.panels()]
LARGEST_PICTURE = 60_000
_INCREASE = re.compile(r"\b(?:rate|increase)\((\w+(?:\{[^}]*\})?)\[\w+\]\)")


@dataclass(frozen=True)
class Measured:
    """A load between two scrapes, what is known of it, and the Prometheus that saw it."""

    prometheus: PrometheusServer
    scene: BusyScene
    facts: Facts
    before: float
    at: float

    @property
    def times(self) -> TimeRange:
        return TimeRange(start=self.before, end=self.at, step=1.0, scrape=INTERVAL)

    def shown(self, query: Query, choices: Mapping[str, list[str]] | None = None) -> dict[str, float]:
        """Return what a query shows by legend, with counters as they grew between the two scrapes.

        `rate` and `increase` extrapolate to times that were not scraped: no whole number would come out.
        """
        expr = _INCREASE.sub(rf"(\1 - \1 @ {self.before:.3f})", filled(query.expr, self.times, choices))
        assert "rate(" not in expr
        assert "increase(" not in expr
        found = self.prometheus.query(expr, self.at)
        named = {legend_of(query, dict(labels)): value for labels, value in found.items()}
        assert len(named) == len(found), f"two series have one legend: {query}"
        return named


@pytest.fixture(scope="module")
def measured(
    services: Services,
    fake: FakeUpstream,
    prometheus_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Measured]:
    with ExitStack() as stack:
        gateway = GatewayProcess(
            tmp_path_factory.mktemp("dashboards"),
            WORKERS=2,
            DB_URL=stack.enter_context(fresh_database(services.url_or_skip("PostgreSQL"))),
            REDIS_URL=stack.enter_context(lent_redis_database(services.url_or_skip("Redis"))),
        )
        stack.callback(gateway.close)
        scene = BusyScene(gateway.start(), fake)
        stack.callback(scene.close)
        # Every series exists before the first scrape, so that Prometheus sees all that is counted from then on.
        scene.send()
        folder, targets = tmp_path_factory.mktemp("prometheus"), {"llm-gateway": [gateway.origin]}
        prometheus = stack.enter_context(PrometheusServer(prometheus_folder, folder, targets))
        prometheus.wait_until_up()
        before = prometheus.scraped()
        # A scrape that began before that moment may be stored after it, and must not see any of the load.
        prometheus.scraped()
        load = scene.send()
        with scene.open_stream():
            budgets, at = _budgets_at_a_scrape(gateway, prometheus)
            # A scrape that began before that moment may have been stored after it.
            prometheus.scraped()
            facts = _facts(scene, load, budgets, prometheus, at)
        yield Measured(prometheus, scene, facts, before, at)
        assert gateway.distress() == [], gateway.log()


def _budgets_at_a_scrape(
    gateway: GatewayProcess, prometheus: PrometheusServer
) -> tuple[dict[str, float], float]:
    """Return the used parts of the budgets by the admin API, and the time of a scrape while they were that."""

    def look() -> tuple[dict[str, float], float, dict[str, float]]:
        return _budgets(gateway), prometheus.scraped(), _budgets(gateway)

    used, at, _ = eventually(look, lambda seen: seen[0] == seen[2], 30)
    return used, at


def _budgets(gateway: GatewayProcess) -> dict[str, float]:
    return {
        str(budget["name"]): float(
            (Decimal(budget["spent_usd"]) + Decimal(budget["held_usd"])) / Decimal(budget["amount_usd"])
        )
        for budget in accepted(gateway.admin.get("/budgets"))["data"]
    }


def _facts(
    scene: BusyScene, load: Load, budgets: dict[str, float], prometheus: PrometheusServer, at: float
) -> Facts:
    gateway = scene.gateway
    workers = _workers(gateway)
    tried = {provider(row) for row in load.rows} - {"none"} | {scene.tripping.name}
    return Facts(
        load=load,
        instance=gateway.origin.removeprefix("http://"),
        health={name: int(name != scene.broken.name) for name in tried},
        openings={scene.tripping.name: 1},
        refusals=Counter(
            "credential: budget" if row["model"] else "credential: requests_per_day"
            for row in load.rows
            if row["status_code"] == 429
        ),
        open_streams=1,
        budgets=budgets,
        forecasts={name: _forecast(prometheus, name, at) for name in budgets},
        config_version=gateway.config_version(),
        workers=len(workers),
        cpu_seconds=sum(map(_cpu_seconds, workers)),
        memory_bytes=sum(map(_memory, workers)),
        open_files_ratio=max(map(_open_files_ratio, workers)),
    )


# --- the workers, as the kernel sees them ---


def _workers(gateway: GatewayProcess) -> list[Path]:
    """Return the folders in /proc of the processes that serve."""
    assert gateway.process is not None
    parent = gateway.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [Path("/proc", child) for child in children]


def _cpu_seconds(process: Path) -> float:
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(process: Path) -> int:
    return int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _open_files_ratio(process: Path) -> float:
    limit = re.search(r"Max open files\s+(\d+)", (process / "limits").read_text())
    assert limit is not None
    return len(list((process / "fd").iterdir())) / int(limit[1])


def _forecast(prometheus: PrometheusServer, budget: str, at: float) -> Between:
    """Return what is used, and four times what was used in six hours, from what was scraped of a budget."""
    samples = prometheus.samples(f'llm_gateway_budget_used_ratio{{budget="{budget}"}}[6h]', at)
    used = (samples[-1][1] - samples[0][1]) * extrapolation(samples, at)
    forecast = samples[-1][1] + 4 * max(used, 0.0)
    # Prometheus knows times to the millisecond.
    return Between(0.999 * forecast, 1.001 * forecast)


# --- the tests ---


def _faults(measured: Measured, facts: Facts, choices: Mapping[str, list[str]]) -> list[str]:
    """Return the panels whose numbers are not those of the load, with variables that choose some of it."""
    found = []
    for board, panel in PANELS:
        used = {name for name in choices if any(f"${name}" in query.expr for query in panel.queries)}
        known = _chosen(facts, {name: values for name, values in choices.items() if name in used})
        expected = EXPECTED[board.uid, panel.title](known)
        shown = {
            name: value
            for query in panel.queries
            for name, value in measured.shown(query, choices).items()
            if not math.isnan(value)
        }
        # A series that is 0 may be missing: nothing of the kind has happened yet.
        wrong = {
            name: (shown.get(name), expected.get(name))
            for name in shown.keys() | expected.keys()
            if not _equal(shown.get(name, 0.0), expected.get(name, 0))
        }
        if wrong:
            found.append(f"{board.title}, {panel.title}: shown and expected are {wrong}")
    return found


def _equal(shown: float, expected: object) -> bool:
    if isinstance(expected, int | float):
        return shown == pytest.approx(expected, rel=1e-6, abs=1e-12)
    return expected == shown


def _chosen(facts: Facts, choices: Mapping[str, list[str]]) -> Facts:
    """Return what is known of the chosen part."""
    labels: dict[str, Callable[[Row], str]] = {
        "provider": provider,
        "model": model,
        "credential": lambda row: str(row["credential"]),
    }
    rows = [
        row
        for row in facts.load.rows
        if all(labels[name](row) in values for name, values in choices.items() if name in labels)
    ]
    shown = set(choices.get("provider", [*facts.health, "none"]))
    load = replace(
        facts.load,
        rows=rows,
        failed_attempts=[one for one in facts.load.failed_attempts if one["provider"] in shown],
    )
    return replace(
        facts,
        load=load,
        health={name: value for name, value in facts.health.items() if name in shown},
        openings={name: value for name, value in facts.openings.items() if name in shown},
    )


def test_every_panel_has_an_expected_value() -> None:
    assert EXPECTED.keys() == {(board.uid, panel.title) for board, panel in PANELS}


def test_s4_6_s4_56_every_panel_shows_what_the_load_sent(measured: Measured) -> None:
    assert "\n".join(_faults(measured, measured.facts, {})) == ""


def test_every_query_returns_data_exactly_as_grafana_asks_it(measured: Measured) -> None:
    reader = PrometheusReader(measured.prometheus.url)
    # From before the first scrape until after the last one.
    times = replace(measured.times, start=measured.before - 5)
    empty = [
        f"{board.title}, {panel.title}: {query.expr}"
        for board, panel in PANELS
        for query in panel.queries
        if not any(math.isfinite(value) for line in reader.lines(query, times) for _, value in line.points)
    ]
    assert empty == []


@pytest.mark.parametrize("name", ["provider", "model", "credential", "instance", "provider and model"])
def test_a_variable_narrows_the_numbers(measured: Measured, name: str) -> None:
    scene = measured.scene
    choices = {
        "provider": {"provider": [scene.priced.name, scene.tripping.name]},
        "model": {"model": ["gpt-4o"]},
        "credential": {"credential": ["everybody"]},
        # Dots are special in a regular expression, and `(a|b)` is one.
        "instance": {"instance": [measured.facts.instance, "127.0.0.1:1"]},
        "provider and model": {"provider": [scene.flaky.name], "model": ["flaky", "gpt-4o"]},
    }[name]
    assert "\n".join(_faults(measured, measured.facts, choices)) == ""


def test_another_instance_has_no_data(measured: Measured) -> None:
    shown = [
        panel.title
        for _, panel in PANELS
        for query in panel.queries
        if measured.shown(query, {"instance": ["127.0.0.1:1"]})
    ]
    assert shown == []


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
def test_the_choices_of_a_variable_are_the_labels_of_its_metric(measured: Measured, board: Dashboard) -> None:
    for variable in board.variables:
        found = measured.prometheus.query(f"count by ({variable.name}) ({variable.metric.name})", measured.at)
        labels = {dict(each)[variable.name] for each in found}
        rows = measured.facts.load.rows
        expected = {
            "provider": {provider(row) for row in rows},
            "model": {model(row) for row in rows},
            "credential": {str(row["credential"]) for row in rows} - {"None"},
            "instance": {measured.facts.instance},
        }[variable.name]
        assert labels >= expected, variable.name


def test_pictures_of_the_dashboards_are_drawn(measured: Measured, tmp_path: Path) -> None:
    pictures.main(
        [
            "--prometheus",
            measured.prometheus.url,
            "--minutes",
            "1",
            "--scrape",
            "1",
            "--folder",
            str(tmp_path),
        ]
    )
    assert {path.stem for path in tmp_path.iterdir()} == {board.uid for board in DASHBOARDS}
    for board in DASHBOARDS:
        size, texts = _picture(tmp_path / f"{board.uid}.svg")
        assert size < LARGEST_PICTURE
        assert {panel.title for panel in board.panels()} <= texts


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
def test_the_pictures_of_the_page_are_of_these_dashboards(board: Dashboard) -> None:
    size, texts = _picture(pictures.FOLDER / f"{board.uid}.svg")
    assert size < LARGEST_PICTURE
    missing = {panel.title for panel in board.panels()} - texts
    assert missing == set(), "`python -m tests.e2e.draw_pictures` draws docs/pictures again"


def _picture(path: Path) -> tuple[int, set[str]]:
    """Return how many bytes a picture has, and its texts."""
    root = ET.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return path.stat().st_size, {"".join(each.itertext()) for each in root.iter()}


def test_a_number_that_is_not_the_loads_is_found(measured: Measured) -> None:
    fewer = replace(measured.facts.load, rows=measured.facts.load.rows[1:])
    found = "\n".join(_faults(measured, replace(measured.facts, load=fewer), {}))
    assert "Requests per second" in found
    assert "Status codes" in found
