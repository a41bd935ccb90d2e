"""What DATA_DIR holds is bound to its database: two databases with one DATA_DIR never get each other's files."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.conftest import Services
from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.fakes.script import Script
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.upstream import FakeUpstream
from tests.services import fresh_database

NewUrl = Callable[[], str]


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, services: Services, tmp_path: Path) -> Iterator[NewUrl]:
    """Yield a maker of DB_URLs of fresh databases."""
    with ExitStack() as stack:
        made: list[str] = []

        def make() -> str:
            if request.param == "sqlite":
                made.append(f"sqlite:///{tmp_path}/database-{len(made)}.db")
            else:
                made.append(stack.enter_context(fresh_database(services.url_or_skip("PostgreSQL"))))
            return made[-1]

        yield make


def sent(desk: Desk, count: int) -> set[str]:
    """Send chats, and return their request ids."""
    answers = [desk.chat() for _ in range(count)]
    assert [answer.status_code for answer in answers] == [200] * count
    return {answer.headers["x-request-id"] for answer in answers}


def rows(desk: Desk, expected: set[str]) -> None:
    """Wait until the usage rows are those of `expected`, and no others."""

    def found() -> set[str]:
        return {row["request_id"] for row in desk.gateway.usage_rows()}

    assert eventually(found, lambda seen: seen >= expected) == expected


@pytest.mark.parametrize("workers", [1, 2])
def test_two_gateways_with_one_data_dir_each_fill_their_own_database(
    launch: Launch, fake: FakeUpstream, new_url: NewUrl, tmp_path: Path, workers: int
) -> None:
    shared = {"DATA_DIR": tmp_path / "shared", "WORKERS": workers}
    first = Desk(launch(DB_URL=new_url(), **shared), fake)
    second = Desk(launch(DB_URL=new_url(), **shared), fake)
    for desk in (first, second):
        desk.provider()
    ids = [sent(desk, 10) for desk in (first, second)]
    for desk, expected in zip((first, second), ids, strict=True):
        rows(desk, expected)
        details = accepted(desk.gateway.http.get("/health/detailed"))
        assert details["usage"]["other_databases"] == {}, "the other one is in use, and nothing is left over"
    folders = [path for path in (tmp_path / "shared" / "databases").iterdir() if path.is_dir()]
    assert len(folders) == 2
    assert all((folder / "last_good_catalog").exists() for folder in folders)
    for desk in (first, second):
        assert desk.gateway.stop() == 0
        assert desk.gateway.distress() == []


def test_records_left_after_a_change_of_db_url_wait_for_their_database(
    launch: Launch, fake: FakeUpstream, new_url: NewUrl
) -> None:
    urls = [new_url(), new_url()]
    desk = Desk(launch(DB_URL=urls[0]), fake)
    lane = desk.provider()
    gateway = desk.gateway
    expected = sent(desk, 3)
    rows(desk, expected)
    # Killed with an open request: its end is written by the next start, with this database.
    lane.next.append(Script(fault="stall", fault_at=2))
    request = gateway.http.build_request(
        "POST",
        "/v1/chat/completions",
        headers={"authorization": f"Bearer {desk.key}"},
        json=desk.body(stream=True),
    )
    open_stream = gateway.http.send(request, stream=True)
    journals = list((gateway.folder / "data" / "databases").glob("*/journal"))
    # A record that the database does not have yet, as after an outage.
    gateway.kill()
    open_stream.close()
    (journals[0] / "shipped").unlink()
    gateway.settings["DB_URL"] = urls[1]
    gateway.start()
    assert gateway.usage_rows() == [], "nothing of the first database"
    assert gateway.admin.get("/providers").json()["data"] == [], "its last good file neither"
    waiting = accepted(gateway.http.get("/health/detailed"))["usage"]["other_databases"]
    [(name, size)] = waiting.items()
    assert size > 0
    assert urlsplit(urls[0]).path.rpartition("/")[2] in name
    assert gateway.metrics("llm_gateway_journal_other_databases_bytes") == size
    assert f"{size} bytes of usage records" in gateway.stderr.read_text()
    assert gateway.stop() == 0
    gateway.settings["DB_URL"] = urls[0]
    gateway.start()
    rows(desk, expected | {open_stream.headers["x-request-id"]})
    assert accepted(gateway.http.get("/health/detailed"))["usage"]["other_databases"] == {}
    assert gateway.metrics("llm_gateway_journal_other_databases_bytes") == 0
    assert gateway.stop() == 0
    assert gateway.distress() == []


def older_layout(data_dir: Path, shown: str) -> Path:
    """Turn DATA_DIR into what an older gateway leaves, and return its journal."""
    [folder] = [path for path in (data_dir / "databases").iterdir() if path.is_dir()]
    (folder / "journal").rename(data_dir / "journal")
    saved = folder / "last_good_catalog"
    head, _, body = saved.read_text().partition("\n")
    (data_dir / "last_good_catalog").write_text(head.replace(folder.name, shown) + "\n" + body)
    shutil.rmtree(data_dir / "databases")
    (data_dir / "journal" / "shipped").unlink()
    return data_dir / "journal"


def shown(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return parts.path[1:]
    return parts.netloc.rpartition("@")[2] + parts.path


def test_an_older_data_dir_goes_to_the_database_that_it_was_used_with(
    launch: Launch, fake: FakeUpstream, new_url: NewUrl
) -> None:
    urls = [new_url(), new_url()]
    desk = Desk(launch(DB_URL=urls[0]), fake)
    lane = desk.provider()
    gateway = desk.gateway
    expected = sent(desk, 3)
    rows(desk, expected)
    lane.next.append(Script(fault="stall", fault_at=2))
    request = gateway.http.build_request(
        "POST",
        "/v1/chat/completions",
        headers={"authorization": f"Bearer {desk.key}"},
        json=desk.body(stream=True),
    )
    open_stream = gateway.http.send(request, stream=True)
    expected.add(open_stream.headers["x-request-id"])
    gateway.kill()
    open_stream.close()
    data_dir = gateway.folder / "data"
    journal = older_layout(data_dir, shown(urls[0]))
    # Another database comes first, and gets nothing of it.
    gateway.settings["DB_URL"] = urls[1]
    gateway.start()
    assert gateway.usage_rows() == []
    waiting = accepted(gateway.http.get("/health/detailed"))["usage"]["other_databases"]
    assert list(waiting) == [shown(urls[0])]
    assert journal.is_dir()
    assert gateway.stop() == 0
    gateway.settings["DB_URL"] = urls[0]
    gateway.start()
    rows(desk, expected)
    assert not journal.exists()
    assert not (data_dir / "last_good_catalog").exists()
    assert gateway.stop() == 0
    assert gateway.distress() == []


@pytest.fixture
def proxies(services: Services) -> Iterator[Callable[[str], tuple[TcpProxy, str]]]:
    """Yield a function that puts a proxy before a PostgreSQL database and returns it with its URL."""
    started: list[TcpProxy] = []

    def make(url: str) -> tuple[TcpProxy, str]:
        parts = urlsplit(url)
        assert parts.hostname is not None
        proxy = TcpProxy((parts.hostname, parts.port or 5432)).start()
        started.append(proxy)
        user = parts.netloc.rpartition("@")[0]
        return proxy, urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{proxy.port}"))

    yield make
    for proxy in started:
        proxy.stop()


def test_a_start_while_one_of_two_databases_is_down_takes_that_ones_copy(
    launch: Launch,
    fake: FakeUpstream,
    services: Services,
    proxies: Callable[[str], tuple[TcpProxy, str]],
) -> None:
    server = services.url_or_skip("PostgreSQL")
    with fresh_database(server) as first, fresh_database(server) as second:
        proxy, url = proxies(first)
        desk = Desk(launch(DB_URL=url), fake)
        desk.provider()
        gateway = desk.gateway
        expected = sent(desk, 2)
        gateway.stop()
        gateway.settings["DB_URL"] = second
        gateway.start()
        gateway.create_credential("of the second")
        gateway.stop()
        proxy.cut()
        # Another spelling of the first's address: the default scheme's alias.
        gateway.settings["DB_URL"] = url.replace("postgresql://", "postgres://")
        gateway.start()
        told = accepted(gateway.admin.get("/config/version"))
        assert told["source"] == "last_good_file"
        expected |= sent(desk, 3)
        proxy.restore()
        rows(desk, expected)
        assert gateway.stop() == 0
        # An address that was never used has no copy, although the folders of two databases are there.
        proxy.cut()
        gateway.settings["DB_URL"] = url + "_other"
        gateway.launch()
        assert gateway.wait() == 1
        assert "Traceback" not in gateway.stderr.read_text()


def test_a_database_that_comes_up_as_another_one_gets_nothing(
    launch: Launch,
    fake: FakeUpstream,
    services: Services,
    proxies: Callable[[str], tuple[TcpProxy, str]],
) -> None:
    server = services.url_or_skip("PostgreSQL")
    with fresh_database(server) as url:
        proxy, proxied = proxies(url)
        desk = Desk(launch(DB_URL=proxied), fake)
        desk.provider()
        gateway = desk.gateway
        before = sent(desk, 2)
        rows(desk, before)
        gateway.stop()
        proxy.cut()
        gateway.start()
        waiting = sent(desk, 3)
        # The same address, and another database: somebody gave it an id of its own.
        mine = _swap_id(url, "0123456789abcdef0123456789abcdef")
        proxy.restore()
        eventually(gateway.stderr.read_text, lambda text: "is not the one that this gateway" in text, 15)
        refused = gateway.admin.get("/usage")
        assert refused.status_code == 503
        assert "Restart the gateway" in refused.json()["error"]["message"]
        assert desk.chat().status_code == 200
        _swap_id(url, mine)
        eventually(lambda: gateway.admin.get("/usage").status_code, lambda status: status == 200, 15)
        found = eventually(
            lambda: {row["request_id"] for row in gateway.usage_rows()}, lambda seen: seen >= waiting, 15
        )
        assert len(found) == 6
        assert gateway.stop() == 0
        assert gateway.distress() == []


def _swap_id(url: str, database_id: str) -> str:
    import asyncpg

    from tests.services import run_alone

    async def work() -> str:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            found: str = await connection.fetchval("SELECT database_id FROM database_identity")
            await connection.execute("UPDATE database_identity SET database_id = $1", database_id)
            return found
        finally:
            await connection.close()

    return run_alone(work())


def test_two_spellings_of_one_address_share_their_limits_in_redis(
    launch: Launch, fake: FakeUpstream, services: Services, redis_url: str
) -> None:
    with fresh_database(services.url_or_skip("PostgreSQL")) as url:
        spelled = url.replace("127.0.0.1", "localhost")
        assert spelled != url
        desk = Desk(launch(DB_URL=url, REDIS_URL=redis_url), fake)
        desk.provider()
        key = desk.credential(rate_limit=3)
        other = launch(DB_URL=spelled, REDIS_URL=redis_url)
        statuses = [
            gateway.post("/v1/chat/completions", key, json=desk.body()).status_code
            for gateway in (desk.gateway, other) * 4
        ]
        assert statuses.count(200) == 3, statuses


def test_a_restored_backup_brings_its_id_along(launch: Launch, fake: FakeUpstream) -> None:
    desk = Desk(launch(), fake)
    desk.provider()
    gateway = desk.gateway
    sent(desk, 2)
    gateway.stop()
    database = gateway.folder / "data" / "llm-gateway.db"
    backup = gateway.folder / "backup.db"
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    gateway.start()
    gateway.stop()
    for path in database.parent.glob("llm-gateway.db*"):
        path.unlink()
    shutil.copy(backup, database)
    gateway.start()
    expected = sent(desk, 1)
    eventually(lambda: {row["request_id"] for row in gateway.usage_rows()}, lambda seen: seen >= expected)
    assert len([path for path in (database.parent / "databases").iterdir() if path.is_dir()]) == 1
    assert gateway.stop() == 0


def waits(gateway: GatewayProcess) -> dict[str, Any]:
    """Return what waits for other databases."""
    found: dict[str, Any] = accepted(gateway.http.get("/health/detailed"))["usage"]["other_databases"]
    return found


def test_an_emptied_database_at_the_same_address_does_not_get_the_old_records(
    launch: Launch, fake: FakeUpstream
) -> None:
    desk = Desk(launch(), fake)
    desk.provider()
    gateway = desk.gateway
    sent(desk, 2)
    gateway.kill()
    [journal] = (gateway.folder / "data" / "databases").glob("*/journal")
    (journal / "shipped").unlink(missing_ok=True)
    for path in (gateway.folder / "data").glob("llm-gateway.db*"):
        path.unlink()
    gateway.start()
    assert gateway.usage_rows() == []
    [(name, _)] = waits(gateway).items()
    assert journal.parent.name in name
    assert gateway.stop() == 0
