"""Fixtures that every test may ask for, and what pytest says when a server they need is not there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.services import (
    Server,
    ServiceMissing,
    find_chromium,
    find_postgres,
    find_prometheus,
    find_redis,
    fresh_database,
    lent_redis_database,
)

hypothesis.settings.register_profile("default", deadline=None, max_examples=60, print_blob=True)
hypothesis.settings.register_profile("soak", deadline=None, max_examples=3000, print_blob=True)
hypothesis.settings.load_profile("soak" if os.environ.get("SOAK") == "1" else "default")


class Services:
    """The servers of one pytest process, each looked for when first asked for."""

    def __init__(self) -> None:
        self._finders: dict[str, Callable[[], Server]] = {
            "PostgreSQL": find_postgres,
            "Redis": find_redis,
            "Prometheus": find_prometheus,
            "Chromium": find_chromium,
        }
        self._found: dict[str, Server] = {}
        self.missing: dict[str, str] = {}

    def url(self, name: str) -> str:
        """Return the server's URL; raise ServiceMissing when there is none."""
        if name in self.missing:
            raise ServiceMissing(self.missing[name])
        if name not in self._found:
            try:
                self._found[name] = self._finders[name]()
            except ServiceMissing as missing:
                self.missing[name] = str(missing)
                raise
        return self._found[name].url

    def url_or_skip(self, name: str) -> str:
        """Return the server's URL, or skip the test that asks."""
        try:
            return self.url(name)
        except ServiceMissing as missing:
            pytest.skip(f"needs {name}: {missing}")

    def look_for_all(self) -> None:
        """Find every server now."""
        for name in self._finders:
            try:
                self.url(name)
            except ServiceMissing:
                continue

    def stop(self) -> None:
        """End what was started."""
        for server in self._found.values():
            server.stop()


SERVICES = pytest.StashKey[Services]()


def pytest_configure(config: pytest.Config) -> None:
    """Find the servers early where one process must know: in CI, and before xdist's workers start."""
    services = config.stash[SERVICES] = Services()
    parallel = bool(config.getoption("numprocesses", default=None))
    is_worker = hasattr(config, "workerinput")
    if is_worker or config.option.collectonly or not (parallel or os.environ.get("CI") == "true"):
        return
    services.look_for_all()
    if services.missing and os.environ.get("CI") == "true":
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in services.missing.items())
        services.stop()
        pytest.exit(f"with CI=true every server that tests need must be there, and is not:\n{reasons}", 3)
    # Workers inherit the environment and so share the servers.
    for name, variable in (
        ("PostgreSQL", "TEST_DATABASE_URL"),
        ("Redis", "TEST_REDIS_URL"),
        ("Prometheus", "TEST_PROMETHEUS_DIR"),
        ("Chromium", "TEST_CHROMIUM"),
    ):
        if name not in services.missing:
            os.environ[variable] = services.url(name)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the servers that were started here."""
    services = config.stash.get(SERVICES, None)
    if services is not None:
        services.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say loudly what was left out."""
    missing = config.stash[SERVICES].missing
    if not missing:
        return
    skipped = terminalreporter.stats.get("skipped", [])
    terminalreporter.section("NOT TESTED", sep="!", red=True, bold=True)
    for name, reason in missing.items():
        count = sum(1 for report in skipped if f"needs {name}:" in str(report.longrepr))
        terminalreporter.line(f"{count} tests that need {name} were left out: {reason}", red=True, bold=True)


@pytest.fixture(scope="session")
def services(request: pytest.FixtureRequest) -> Services:
    """Return the servers of this run."""
    return request.config.stash[SERVICES]


@pytest.fixture
def postgres_url(services: Services) -> Iterator[str]:
    """Yield `postgresql://...` of a fresh, empty database that is dropped afterwards."""
    with fresh_database(services.url_or_skip("PostgreSQL")) as url:
        yield url


@pytest.fixture
def redis_url(services: Services) -> Iterator[str]:
    """Yield `redis://...` of an empty database that no other test uses, emptied afterwards."""
    with lent_redis_database(services.url_or_skip("Redis")) as url:
        yield url


@pytest.fixture(scope="session")
def prometheus_folder(services: Services) -> Path:
    """Return the folder with the programs prometheus and promtool."""
    return Path(services.url_or_skip("Prometheus"))


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str | None:
    """Return DB_URL for each store in turn: None for the SQLite file in `data_dir`, else a fresh database."""
    if request.param == "sqlite":
        return None
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Return an empty folder to be DATA_DIR."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def soak() -> bool:
    """Tell whether this is `make soak`: full sizes rather than quick ones."""
    return os.environ.get("SOAK") == "1"
