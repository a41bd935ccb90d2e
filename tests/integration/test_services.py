"""The test harness itself: servers are found or started, lent and cleaned, and missed loudly."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
import redis

from tests import services

ROOT = Path(__file__).parents[2]
NOBODY_LISTENS = "127.0.0.1:1"


def _pytest(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on a test below in a process of its own, with no server to be had."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("CI", "PYTEST", "COV"))
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env={
            **inherited,
            "TEST_DATABASE_URL": f"postgresql://nobody@{NOBODY_LISTENS}/none",
            "TEST_REDIS_URL": f"redis://{NOBODY_LISTENS}",
            "TEST_PROMETHEUS_DIR": "/nowhere",
            "TEST_CHROMIUM": "/nowhere/chromium",
            **environment,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


async def test_postgres_url_is_a_fresh_database(postgres_url: str) -> None:
    assert postgres_url.startswith("postgresql://")
    connection = await asyncpg.connect(postgres_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    finally:
        await connection.close()


def test_a_database_is_dropped_though_somebody_is_connected(postgres_url: str) -> None:
    async def connect(url: str) -> asyncpg.Connection:
        return await asyncpg.connect(url)

    with services.fresh_database(postgres_url) as url:
        loop = asyncio.new_event_loop()
        connection = loop.run_until_complete(connect(url))
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        services.run_alone(connect(url))
    connection.terminate()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_redis_url_is_empty_and_ours_alone(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("mine", "1")


def test_two_loans_differ_and_are_returned_empty(redis_url: str) -> None:
    with services.lent_redis_database(redis_url) as other:
        assert other != redis_url
        with redis.Redis.from_url(other) as client:
            client.set("key", "value")
    with redis.Redis.from_url(other) as client:
        assert client.dbsize() == 0


def test_store_url_is_none_for_sqlite(store_url: str | None) -> None:
    assert store_url is None or store_url.startswith("postgresql://")


def test_a_temporary_postgres_serves_and_goes() -> None:
    binaries = services.postgres_binaries()
    if binaries is None:
        pytest.skip("no initdb on this machine")
    server = services.TemporaryPostgres(binaries)
    try:
        with services.fresh_database(server.url) as url:
            assert services._postgres_fault(url) is None
    finally:
        server.stop()
    assert services._postgres_fault(server.url) is not None


def test_without_servers_tests_are_skipped_and_the_summary_is_loud() -> None:
    done = _pytest(
        f"{__file__}::test_postgres_url_is_a_fresh_database", f"{__file__}::test_store_url_is_none_for_sqlite"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NOT TESTED" in done.stdout
    assert "2 tests that need PostgreSQL were left out: TEST_DATABASE_URL does not answer" in done.stdout
    assert "1 passed, 2 skipped" in done.stdout


def test_without_servers_parallel_runs_say_it_too() -> None:
    done = _pytest("-n", "1", f"{__file__}::test_redis_url_is_empty_and_ours_alone")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 tests that need Redis were left out: TEST_REDIS_URL does not answer" in done.stdout


def test_in_ci_a_missing_server_fails_the_run() -> None:
    done = _pytest(f"{__file__}::test_store_url_is_none_for_sqlite", CI="true")
    assert done.returncode == 3
    assert "PostgreSQL: TEST_DATABASE_URL does not answer" in done.stdout + done.stderr
    assert "Redis: TEST_REDIS_URL does not answer" in done.stdout + done.stderr
    assert "Prometheus: no prometheus and promtool in TEST_PROMETHEUS_DIR" in done.stdout + done.stderr
    assert "Chromium: no chromium at TEST_CHROMIUM" in done.stdout + done.stderr


def test_prometheus_is_found_with_promtool_or_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_PROMETHEUS_DIR", str(tmp_path))
    (tmp_path / "prometheus").touch(mode=0o755)
    with pytest.raises(services.ServiceMissing, match="no prometheus and promtool"):
        services.find_prometheus()
    (tmp_path / "promtool").touch(mode=0o755)
    assert services.find_prometheus().url == str(tmp_path)


def test_chromium_is_found_or_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "chromium"
    monkeypatch.setenv("TEST_CHROMIUM", str(program))
    with pytest.raises(services.ServiceMissing, match="install Chromium, such as with `make services`"):
        services.find_chromium()
    program.touch(mode=0o755)
    assert services.find_chromium().url == str(program)
