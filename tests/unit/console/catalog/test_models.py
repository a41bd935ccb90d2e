"""The pages of models: those with settings and those without, and the route of each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.flow.config.rows.models import ModelUpdate
from tests.fakes.console_client import Browser, console_browser, form_fields
from tests.fakes.stores import opened

PATH = "/console/models"


@pytest.fixture
async def browser(data_dir: Path) -> AsyncIterator[Browser]:
    async with opened(None, data_dir) as store, console_browser(store) as browser:
        await store.add_provider("main", model_mapping={"gpt": "up", "bare<1>": "other"}, weight=3)
        await store.add_provider("second", model_mapping={"gpt": "<up>"}, weight=1)
        await store.add_provider("off", model_mapping={"gpt": "up"}, is_enabled=False)
        update = ModelUpdate(name="gpt", fallbacks=("bare<1>", "nobody"), weights={"second": 0})
        await store.editor.create(update)
        yield browser


async def test_the_list_names_models_with_and_without_settings(browser: Browser) -> None:
    html = await browser.get(PATH)
    assert f'<a href="{PATH}/1"><bdi>gpt</bdi></a>' in html
    assert "own weights for <code>second</code>" in html
    assert "nobody" in html
    assert "<code>bare&lt;1&gt;</code>" in html.partition("Models without settings")[2]
    assert f'href="{PATH}/new?name=bare%3C1%3E"' in html
    assert "Models without settings" not in await browser.get(PATH, search="gpt")
    await browser.sign_in("viewer")
    assert "Add settings" not in await browser.get(PATH)


async def test_the_list_of_models_without_settings_is_bounded(browser: Browser) -> None:
    mapping = {f"model-{number}": "up" for number in range(230)}
    await browser.store.add_provider("many", model_mapping=mapping)
    html = await browser.get(PATH)
    assert html.count("Add settings") == 200
    assert "And 31 more: search to find them." in html


async def test_settings_are_added_to_a_model_that_is_served_already(browser: Browser) -> None:
    html = await browser.get(f"{PATH}/new", name="bare<1>")
    assert form_fields(html)["name"] == "bare<1>"
    assert "Its route now" in html
    answer = await browser.fill(f"{PATH}/new?name=bare<1>", strategy="least_busy")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}?done=created")
    assert browser.store.holder.current is not None
    assert browser.store.holder.current.models["bare<1>"].strategy == "least_busy"


async def test_the_page_explains_the_route(browser: Browser) -> None:
    html = " ".join((await browser.get(f"{PATH}/1")).split())
    route = html.partition("Its route now")[2]
    assert "<li><code>main</code> as <code>up</code></li>" in route
    assert (
        "<li><code>main</code> as <code>other</code>, for the fallback <code>bare&lt;1&gt;</code></li>"
        in route
    )
    assert "100.0 %" in route
    assert "weight 0" in route
    assert "disabled" in route
    assert "no available provider supports this model" in route
    assert "Timeouts and retries in force" in route


async def test_a_model_that_nobody_serves_says_so(browser: Browser) -> None:
    made = await browser.store.editor.create(ModelUpdate(name="unserved"))
    html = await browser.get(f"{PATH}/{made.row.id}")
    assert "A request is refused" in html
    assert "No provider serves this model" in html


async def test_viewers_see_the_settings_and_the_route(browser: Browser) -> None:
    await browser.sign_in("viewer")
    html = await browser.get(f"{PATH}/1")
    assert "<textarea" not in html
    assert "Its route now" in html
    assert (await browser.post(f"{PATH}/new", {"name": "x"})).status_code == 403


async def test_faults_stand_beside_their_fields(browser: Browser) -> None:
    answer = await browser.fill(
        f"{PATH}/1", timeouts__idle="0", retry__jitter="2", affinity="<nonsense>", fallbacks="gpt*"
    )
    assert answer.status_code == 422
    assert 'id="field-fallbacks-error"' in answer.text
    assert "&lt;nonsense&gt;" in answer.text
    answer = await browser.fill(f"{PATH}/1", retry__max_retries="1.5", cache__ttl="x")
    assert 'id="field-cache-ttl-error"' in answer.text
    answer = await browser.fill(f"{PATH}/1", retry__max_retries="1.5")
    assert 'id="field-retry-max_retries-error"' in answer.text


async def test_a_row_that_was_broken_by_sql_is_shown_and_repaired(browser: Browser) -> None:
    statement = "UPDATE models SET timeouts = :timeouts, weights = 'nonsense'"
    await browser.store.sql(statement, timeouts='{"idle": -1}')
    await browser.store.reloader.reload()
    html = await browser.get(f"{PATH}/1")
    assert "Not in force as it is stored" in html
    assert form_fields(html)["timeouts.idle"] == "-1"
    assert (await browser.fill(f"{PATH}/1", timeouts__idle="5")).status_code == 303
    assert "Not in force" not in await browser.get(f"{PATH}/1")
