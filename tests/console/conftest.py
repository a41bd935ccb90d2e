"""Gateways, a browser, and visitors who are signed in; a test fails if anything went wrong in a page."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from tests.conftest import Services
from tests.console.browsing import HEIGHT, WIDE, Faults, Scheme, Visitor, visitor
from tests.console.path_prefix import PathPrefixProxy
from tests.console.scene import VIEWER_KEY, Scene, set_scene
from tests.e2e.gateway_process import ADMIN_KEY, GatewayProcess
from tests.fakes.upstream import FakeUpstream
from tests.services import fresh_database

PREFIX = "/gw"
_FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run these tests on one event loop, which is that of the browser."""
    for item in items:
        if item.path.parent == _FOLDER and inspect.iscoroutinefunction(getattr(item, "function", None)):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def fake() -> Iterator[FakeUpstream]:
    """Return the fake provider."""
    started = FakeUpstream().start()
    yield started
    started.stop()


def _scene(folder: Path, fake: FakeUpstream, **settings: object) -> Iterator[Scene]:
    gateway = GatewayProcess(folder, VIEWER_KEY=VIEWER_KEY, LOG_LEVEL="warning", **settings)
    try:
        yield set_scene(gateway.start(), fake)
        assert gateway.stop() == 0, gateway.log()
        assert gateway.distress() == [], gateway.log()
    finally:
        gateway.close()


@pytest.fixture(scope="session")
def scene(
    tmp_path_factory: pytest.TempPathFactory, services: Services, fake: FakeUpstream
) -> Iterator[Scene]:
    """Return a gateway of two workers on PostgreSQL."""
    with fresh_database(services.url_or_skip("PostgreSQL")) as url:
        settings = {"WORKERS": 2, "DB_URL": url, "TRUSTED_PROXIES": "127.0.0.1"}
        yield from _scene(tmp_path_factory.mktemp("console"), fake, **settings)


@pytest.fixture(scope="session")
def small_scene(tmp_path_factory: pytest.TempPathFactory, fake: FakeUpstream) -> Iterator[Scene]:
    """Return a gateway of one worker on SQLite."""
    yield from _scene(tmp_path_factory.mktemp("console-small"), fake)


@pytest.fixture(scope="session")
def prefixed_scene(tmp_path_factory: pytest.TempPathFactory, fake: FakeUpstream) -> Iterator[Scene]:
    """Return a gateway whose paths begin with /gw."""
    yield from _scene(tmp_path_factory.mktemp("console-prefixed"), fake, ROOT_PATH=PREFIX)


@pytest.fixture(scope="module", params=[True, False], ids=["kept", "stripped"])
def proxy(request: pytest.FixtureRequest, prefixed_scene: Scene) -> Iterator[PathPrefixProxy]:
    """Return a proxy that serves the gateway below /gw, which it keeps or strips."""
    with PathPrefixProxy(prefixed_scene.origin, PREFIX, keeps_prefix=request.param) as started:
        yield started


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(services: Services) -> AsyncIterator[Browser]:
    """Return a Chromium."""
    program = services.url_or_skip("Chromium")
    async with async_playwright() as playwright:
        # Its sandbox does not work for root, nor in most containers; it only opens pages of these tests.
        started = await playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield started
        await started.close()


@pytest.fixture(scope="session")
def _noted() -> Faults:
    return Faults()


@pytest.fixture
def faults(_noted: Faults) -> Iterator[Faults]:
    """Return the notes of what goes wrong in this test's pages; at its end there must be none."""
    _noted.forget()
    yield _noted
    assert _noted.found() == []


Visit = Callable[..., Awaitable[Visitor]]


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, faults: Faults) -> AsyncIterator[Visit]:
    """Return a maker of visitors: `await visit(scene)`; `key=None` leaves them signed out."""
    made: list[Visitor] = []

    async def come(scene: Scene | str, key: str | None = ADMIN_KEY, **options: Any) -> Visitor:
        origin = scene if isinstance(scene, str) else scene.origin
        visiting = await visitor(browser, origin, faults, **options)
        made.append(visiting)
        if key is not None:
            await visiting.sign_in(key)
        return visiting

    yield come
    for visiting in made:
        await visiting.context.close()


class Reader:
    """An admin with one window, in which page after page is opened: much faster than a window for each."""

    def __init__(self, visiting: Visitor, page: Page) -> None:
        self.visitor = visiting
        self.page = page

    async def open(self, path: str, *, scheme: Scheme = "light", width: int = WIDE) -> Page:
        """Go to `path`, in these colours and this width, and return the window's page."""
        await self.page.emulate_media(color_scheme=scheme)
        await self.page.set_viewport_size({"width": width, "height": HEIGHT})
        return await self.visitor.go(self.page, path)


@contextlib.asynccontextmanager
async def _reader(browser: Browser, origin: str, noted: Faults, prefix: str = "") -> AsyncIterator[Reader]:
    visiting = await visitor(browser, origin, noted, prefix=prefix)
    await visiting.sign_in(ADMIN_KEY)
    yield Reader(visiting, await visiting.context.new_page())
    await visiting.context.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def _reader_of_scene(browser: Browser, scene: Scene, _noted: Faults) -> AsyncIterator[Reader]:
    async with _reader(browser, scene.origin, _noted) as reader:
        yield reader


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def _reader_of_small_scene(
    browser: Browser, small_scene: Scene, _noted: Faults
) -> AsyncIterator[Reader]:
    async with _reader(browser, small_scene.origin, _noted) as reader:
        yield reader


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def _reader_by_proxy(browser: Browser, proxy: PathPrefixProxy, _noted: Faults) -> AsyncIterator[Reader]:
    async with _reader(browser, proxy.origin, _noted, PREFIX) as reader:
        yield reader


@pytest.fixture
def reader(_reader_of_scene: Reader, faults: Faults) -> Reader:
    """Return the window on the gateway of two workers."""
    return _reader_of_scene


@pytest.fixture
def small_reader(_reader_of_small_scene: Reader, faults: Faults) -> Reader:
    """Return the window on the gateway with SQLite."""
    return _reader_of_small_scene


@pytest.fixture
def prefixed_reader(_reader_by_proxy: Reader, faults: Faults) -> Reader:
    """Return the window on the gateway behind a proxy."""
    return _reader_by_proxy
