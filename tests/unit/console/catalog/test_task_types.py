"""The pages of task types: ordered lists of models, and who serves each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.flow.config.rows.task_types import StoredTaskType
from tests.fakes.console_client import Browser, console_browser
from tests.fakes.stores import opened

PATH = "/console/task-types"


@pytest.fixture
async def browser(data_dir: Path) -> AsyncIterator[Browser]:
    async with opened(None, data_dir) as store, console_browser(store) as browser:
        await store.add_provider("main", model_mapping={"best": "up", "<i>": "up"})
        yield browser


async def test_the_order_of_models_is_kept(browser: Browser) -> None:
    assert "There are no task types" in await browser.get(PATH)
    assert "<code>best</code>, <code>&lt;i&gt;</code>" in await browser.get(f"{PATH}/new")
    answer = await browser.fill(f"{PATH}/new", name="<summary>", models="best\r\n\r\n <i> \r\nnobody")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}?done=created")
    row = (await browser.store.browser.get(StoredTaskType, 1)).value
    assert row.models == ("best", "<i>", "nobody")
    html = await browser.get(PATH)
    assert "&lt;summary&gt;" in html
    assert "<code>best</code>, <code>&lt;i&gt;</code>, <code>nobody</code>" in html
    await browser.fill(f"{PATH}/1", models="nobody\nbest")
    row = (await browser.store.browser.get(StoredTaskType, 1)).value
    assert row.models == ("nobody", "best")
    html = " ".join((await browser.get(f"{PATH}/1")).split())
    assert "<code>best</code>: <code>main</code>" in html
    assert "No provider" in html


async def test_faults_stand_beside_their_fields(browser: Browser) -> None:
    answer = await browser.fill(f"{PATH}/new", name="a", models=" ")
    assert answer.status_code == 422
    assert 'id="field-models-error">is needed' in answer.text
    answer = await browser.fill(f"{PATH}/new", name="a", models="gpt-*")
    assert answer.status_code == 422
    assert 'id="field-models-error"' in answer.text


async def test_viewers_look(browser: Browser) -> None:
    await browser.fill(f"{PATH}/new", name="a", models="best")
    await browser.sign_in("viewer")
    assert "best" in await browser.get(f"{PATH}/1")
    assert (await browser.post(f"{PATH}/1/delete", {})).status_code == 403
