"""A provider is tried out from its page: one tiny request, its list of models, and a model added from it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.providers import StoredProvider
from llm_gateway.flow.ports.upstream import TransportError
from tests.fakes.console_client import Browser, console_browser
from tests.fakes.in_memory import FakeReply, ScriptedUpstream
from tests.fakes.stores import opened

PATH = "/console/providers"


def said(text: str) -> FakeReply:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1234, "completion_tokens": 2, "total_tokens": 1236}
    return FakeReply(msgspec.json.encode({"id": "x", "choices": [choice], "usage": usage}))


def listed(*names: str) -> FakeReply:
    return FakeReply(msgspec.json.encode({"object": "list", "data": [{"id": name} for name in names]}))


@asynccontextmanager
async def browsing(data_dir: Path, *answers: Any, **fields: Any) -> AsyncIterator[Browser]:
    upstream = ScriptedUpstream(p=list(answers))
    async with opened(None, data_dir) as store, console_browser(store, upstream=upstream) as browser:
        await store.add_provider("main", api_base="http://p.test/v1", secret=Secret("sk-secret"), **fields)
        yield browser


async def posted(browser: Browser, path: str, status: int = 200, **fields: str) -> str:
    answer = await browser.post(f"{PATH}/1/{path}", fields)
    assert answer.status_code == status, answer.text
    return " ".join(answer.text.split())


async def mapping(browser: Browser) -> Any:
    return (await browser.store.browser.get(StoredProvider, 1)).value.model_mapping


async def test_a_test_shows_what_came_back(data_dir: Path) -> None:
    async with browsing(data_dir, said("<b>OK</b>."), is_enabled=False) as browser:
        html = await posted(browser, "test", model="gpt-<x>")
        assert "It works: gpt-&lt;x&gt; answered in" in html
        assert "&lt;b&gt;OK&lt;/b&gt;." in html
        assert "1,234 in, 2 out" in html
        assert "<dt>Status</dt><dd>200</dd>" in html
        assert 'name="weight"' in html, "the form is there, too"


async def test_a_failed_test_shows_the_error_and_the_advice(data_dir: Path) -> None:
    refused = FakeReply(msgspec.json.encode({"error": {"message": "Bad key sk-secret <b>"}}), status=401)
    async with browsing(data_dir, refused, TransportError("connect", "refused")) as browser:
        html = await posted(browser, "test", model="m")
        assert "status 401" in html
        assert "Set a valid api_key" in html
        assert "sk-secret" not in html
        assert "&lt;b&gt;" in html
        html = await posted(browser, "test", model="m")
        assert "Check api_base" in html


async def test_a_provider_that_cannot_be_used_says_why(data_dir: Path) -> None:
    async with browsing(data_dir, said("OK")) as browser:
        await browser.store.sql("UPDATE providers SET secret = x'00'")
        assert "This provider cannot be used: " in await posted(browser, "test")
        assert "This provider cannot be used: " in await posted(browser, "offers")


async def test_the_models_that_it_offers_and_the_names_that_lead_to_each(data_dir: Path) -> None:
    answer = listed("gpt-a", "gpt-b", "<script>", "other")
    async with browsing(data_dir, answer, model_mapping={"fast": "gpt-a", "quick": "gpt-a"}) as browser:
        html = await posted(browser, "offers")
        assert "It lists 4 models." in html
        assert "<code>gpt-a</code></td> <td><code>fast</code>, <code>quick</code></td>" in html
        assert "<code>&lt;script&gt;</code></td> <td>not served</td>" in html


async def test_long_lists_are_cut_and_searched(data_dir: Path) -> None:
    names = [f"model-{number}" for number in range(250)]
    async with browsing(data_dir, listed(*names), listed(*names), listed(*names)) as browser:
        html = await posted(browser, "offers")
        assert html.count("Public name for") == 200
        assert "And 50 more: search to find them." in html
        assert (await posted(browser, "offers", search="MODEL-24")).count("Public name for") == 11
        assert "Nothing matches “zzz”." in await posted(browser, "offers", search="zzz")


async def test_a_provider_that_does_not_answer_is_no_fault_of_the_page(data_dir: Path) -> None:
    async with browsing(data_dir, TransportError("timeout", "no answer")) as browser:
        html = await posted(browser, "offers")
        assert "No answer." in html
        assert "Ask again" in html


async def test_a_model_is_added_to_the_mapping(data_dir: Path) -> None:
    async with browsing(data_dir, listed("x"), model_mapping={"fast": "gpt-a"}) as browser:
        answer = await browser.post(f"{PATH}/1/models", {"upstream": "gpt-b", "public": "slow"})
        assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}/1?done=changed")
        assert await mapping(browser) == {"fast": "gpt-a", "slow": "gpt-b"}
        assert "The provider was changed" in await browser.get(f"{PATH}/1", done="changed")
        await posted(browser, "models", status=303, upstream="gpt-c", public=" ")
        assert (await mapping(browser))["gpt-c"] == "gpt-c"
        assert "Type a public name" in await posted(browser, "models", status=400, upstream="", public="")
        assert "must be one upstream name" in await posted(browser, "models", status=422, upstream="a*")


async def test_a_provider_of_every_name_still_serves_every_name(data_dir: Path) -> None:
    async with browsing(data_dir, listed("x")) as browser:
        assert "It serves every name unchanged, and still does" in await posted(browser, "offers")
        await posted(browser, "models", status=303, upstream="gpt-b", public="slow")
        assert await mapping(browser) == {"*": "*", "slow": "gpt-b"}
