"""Finds the PostgreSQL, Redis, Prometheus and Chromium that tests use; starts temporary servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import redis

T = TypeVar("T")

_START_SECONDS = 30.0
# Redis databases 1 to 15 are lent to tests; number 0 holds who has which.
_REDIS_DATABASES = range(1, 16)
_REDIS_LOAN_SECONDS = 900


def without_a_part(reason: str) -> NoReturn:
    """End a test that lacks a part of the machine: it fails with CI=true, and is skipped elsewhere."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class ServiceMissing(Exception):
    """There is no such server here; the message says what was tried and what to do."""


class Server(Protocol):
    """A server that tests may use."""

    url: str

    def stop(self) -> None:
        """End it, if it was started here."""


class FoundServer:
    """A server that was running before and is left running."""

    def __init__(self, url: str) -> None:
        self.url = url

    def stop(self) -> None:
        """Leave it alone."""


def run_alone(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on a loop of its own, without touching the thread's current loop as asyncio.run does."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


# --- PostgreSQL --------------------------------------------------------------------------------


def find_postgres() -> Server:
    """Return TEST_DATABASE_URL's server, else the one on 127.0.0.1:5432, else a temporary cluster."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        url = given.replace("postgresql+asyncpg://", "postgresql://")
        fault = _postgres_fault(url)
        if fault:
            message = f"TEST_DATABASE_URL does not answer ({fault}); correct it, or unset it"
            raise ServiceMissing(message)
        return FoundServer(url)
    for user in ("postgres", getpass.getuser()):
        url = f"postgresql://{user}@127.0.0.1:5432/postgres"
        if _postgres_fault(url) is None:
            return FoundServer(url)
    binaries = postgres_binaries()
    if binaries is None:
        message = (
            "no TEST_DATABASE_URL, no usable server on 127.0.0.1:5432, no initdb on this machine; "
            "install PostgreSQL, or set TEST_DATABASE_URL=postgresql://user:password@host:5432/postgres"
        )
        raise ServiceMissing(message)
    return TemporaryPostgres(binaries)


def _postgres_fault(url: str) -> str | None:
    async def ask() -> None:
        connection = await asyncpg.connect(url, timeout=5)
        await connection.close()

    try:
        run_alone(ask())
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as fault:
        return type(fault).__name__
    return None


def postgres_binaries() -> Path | None:
    """Return the folder of PostgreSQL's server programs, None if there is none."""
    on_path = shutil.which("initdb")
    places = [Path(on_path).resolve().parent] if on_path else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_major_version, reverse=True)
    for place in places:
        if (place / "initdb").is_file() and (place / "pg_ctl").is_file():
            return place
    return None


def _major_version(folder: Path) -> float:
    with contextlib.suppress(ValueError):
        return float(folder.parent.name)
    return 0.0


class TemporaryPostgres:
    """A cluster in a temporary folder on a free loopback port, gone after `stop`."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        # initdb refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        self._home = Path(tempfile.mkdtemp(prefix="llm-gateway-postgres-"))
        try:
            self.url = self._start()
        except Exception:
            shutil.rmtree(self._home, ignore_errors=True)
            raise

    def _start(self) -> str:
        if self._user is not None:
            try:
                account = pwd.getpwnam(self._user)
            except KeyError:
                message = "PostgreSQL does not run as root, and there is no user `postgres` to run it as"
                raise ServiceMissing(message) from None
            os.chown(self._home, account.pw_uid, account.pw_gid)
        port = free_port()
        self._run(
            "initdb", "--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "--no-locale"
        )
        options = (
            f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200 "
            "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        )
        self._run("pg_ctl", "--wait", f"--log={self._home / 'log'}", f"--options={options}", "start")
        return f"postgresql://postgres@127.0.0.1:{port}/postgres"

    def _run(self, program: str, *arguments: str) -> None:
        # The server inherits standard output: a pipe there would never see its end.
        with (self._home / "output").open("w+") as output:
            done = subprocess.run(
                [self._binaries / program, f"--pgdata={self._home / 'data'}", *arguments],
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=60,
                check=False,
            )
            if done.returncode != 0:
                output.seek(0)
                message = f"a temporary PostgreSQL did not start: {program} said: {output.read()[-500:]}"
                raise ServiceMissing(message)

    def stop(self) -> None:
        """End the server and remove its folder."""
        try:
            self._run("pg_ctl", "--mode=immediate", "stop")
        finally:
            shutil.rmtree(self._home, ignore_errors=True)


@contextlib.contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """Create a database with a name of its own, yield its URL, and drop it whoever is connected."""
    name = f"llm_gateway_test_{os.getpid()}_{secrets.token_hex(6)}"

    async def administer(statement: str) -> None:
        connection = await asyncpg.connect(server_url, timeout=30, command_timeout=60)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    # template0, because nobody else can be connected to it.
    run_alone(administer(f'CREATE DATABASE "{name}" TEMPLATE template0'))
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        run_alone(administer(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


# --- Redis -------------------------------------------------------------------------------------


def find_redis() -> Server:
    """Return TEST_REDIS_URL's server, else the one on 127.0.0.1:6379, else a temporary one."""
    given = os.environ.get("TEST_REDIS_URL")
    if given:
        fault = _redis_fault(given)
        if fault:
            message = f"TEST_REDIS_URL does not answer ({fault}); correct it, or unset it"
            raise ServiceMissing(message)
        return FoundServer(given)
    usual = "redis://127.0.0.1:6379"
    if _redis_fault(usual) is None:
        return FoundServer(usual)
    binary = shutil.which("redis-server")
    if binary is None:
        message = (
            "no TEST_REDIS_URL, no server on 127.0.0.1:6379, no redis-server on PATH; "
            "install Redis, or set TEST_REDIS_URL=redis://host:6379"
        )
        raise ServiceMissing(message)
    return TemporaryRedis(binary)


def _redis_fault(url: str) -> str | None:
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2) as client:
            client.ping()
    except (redis.RedisError, OSError, ValueError) as fault:
        return type(fault).__name__
    return None


class TemporaryRedis:
    """A server in memory alone, on a free loopback port, gone after `stop`."""

    def __init__(self, binary: str) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="llm-gateway-redis-"))
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}"
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            command,
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _START_SECONDS
        while (fault := _redis_fault(self.url)) is not None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                message = f"a temporary Redis did not start ({fault})"
                raise ServiceMissing(message)
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)


@contextlib.contextmanager
def lent_redis_database(server_url: str) -> Iterator[str]:
    """Lend one empty Redis database that no other test has, yield its URL, and empty it afterwards."""
    with redis.Redis.from_url(_redis_database_url(server_url, 0)) as ledger:
        number, loan = _borrow(ledger, server_url)
        url = _redis_database_url(server_url, number)
        try:
            yield url
        finally:
            with redis.Redis.from_url(url) as client:
                client.flushdb()
            ledger.delete(loan)


def _borrow(ledger: redis.Redis, server_url: str) -> tuple[int, str]:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        for number in _REDIS_DATABASES:
            loan = f"llm-gateway-test:database:{number}"
            if not ledger.set(loan, os.getpid(), nx=True, ex=_REDIS_LOAN_SECONDS):
                continue
            with redis.Redis.from_url(_redis_database_url(server_url, number)) as client:
                if client.dbsize() == 0:
                    return number, loan
            # Somebody's data: leave it alone.
            ledger.delete(loan)
        time.sleep(0.1)
    message = "no empty Redis database among numbers 1 to 15; point TEST_REDIS_URL at a server for tests"
    raise ServiceMissing(message)


def _redis_database_url(server_url: str, number: int) -> str:
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{number}"))


# --- Prometheus --------------------------------------------------------------------------------


class FoundPrograms:
    """Programs that tests start themselves; `url` is the path of the program, or of the folder that they are in."""

    def __init__(self, path: Path) -> None:
        self.url = str(path)

    def stop(self) -> None:
        """Leave them alone."""


def find_prometheus() -> Server:
    """Return the folder with prometheus and promtool: TEST_PROMETHEUS_DIR, else where PATH has them."""
    given = os.environ.get("TEST_PROMETHEUS_DIR")
    found = shutil.which("prometheus", path=given)
    if found is None or not (Path(found).parent / "promtool").is_file():
        place = f"in TEST_PROMETHEUS_DIR ({given})" if given else "on PATH"
        message = f"no prometheus and promtool {place}; install Prometheus, such as with `make services`"
        raise ServiceMissing(message)
    return FoundPrograms(Path(found).parent)


# --- Chromium ----------------------------------------------------------------------------------


def find_chromium() -> Server:
    """Return TEST_CHROMIUM, else Chromium on PATH: the one without windows, which is faster, if it is there."""
    given = os.environ.get("TEST_CHROMIUM")
    names = [given] if given else ["chromium-headless-shell", "chromium"]
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        place = f"at TEST_CHROMIUM ({given})" if given else "on PATH"
        message = f"no chromium {place}; install Chromium, such as with `make services`"
        raise ServiceMissing(message)
    return FoundPrograms(Path(found))


def free_port() -> int:
    """Return a loopback TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
