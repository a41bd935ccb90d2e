"""The playground in Chromium, against a gateway and a fake provider."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import FilePayload, Page, expect

from tests.console.browsing import NARROW, Visitor, grave_findings, overflow
from tests.console.conftest import Visit
from tests.console.scene import VIEWER_KEY
from tests.e2e.gateway_process import GatewayProcess, eventually
from tests.fakes.calls import Lane
from tests.fakes.script import Script, Tool
from tests.fakes.upstream import FakeUpstream

PATH = "/console/playground"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]


class Room:
    """A gateway whose models "one" and "two" are lanes of the fake provider."""

    def __init__(self, gateway: GatewayProcess, fake: FakeUpstream) -> None:
        self.gateway = gateway
        self.one = self._lane(fake, "one")
        self.two = self._lane(fake, "two")
        gateway.create_credential("a-team")
        gateway.create_credential("b-limited", rate_limit=1)

    def _lane(self, fake: FakeUpstream, name: str) -> Lane:
        lane = fake.lane(f"playground-{name}")
        self.gateway.create_provider(lane.name, model_mapping={name: name}, api_base=lane.base_url)
        prices = {"input_tokens": "1", "output_tokens": "10", "cache_read_tokens": "1"}
        price = {"provider": lane.name, "upstream_model": name, "prices": prices, "confirm_magnitude": True}
        assert self.gateway.admin.post("/prices", json=price).status_code == 201
        return lane

    def reset(self) -> None:
        for lane in (self.one, self.two):
            lane.next.clear()
            lane.calls.clear()
            lane.default = Script()


def _run(folder: Path, **settings: object) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(folder, VIEWER_KEY=VIEWER_KEY, LOG_LEVEL="warning", **settings)
    try:
        yield gateway.start()
        assert gateway.stop() == 0, gateway.log()
        assert gateway.distress() == [], gateway.log()
    finally:
        gateway.close()


@pytest.fixture(scope="module")
def shared_room(tmp_path_factory: pytest.TempPathFactory, fake: FakeUpstream) -> Iterator[Room]:
    for gateway in _run(tmp_path_factory.mktemp("playground")):
        yield Room(gateway, fake)


@pytest.fixture
def room(shared_room: Room) -> Room:
    shared_room.reset()
    return shared_room


async def _open(visit: Visit, room: Room, **options: Any) -> Page:
    visiting: Visitor = await visit(room.gateway.origin, **options)
    return await visiting.open(PATH)


async def _send(page: Page, text: str) -> None:
    await page.fill("#pg-prompt", text)
    await page.keyboard.press("Control+Enter")


def _answer(page: Page, at: int = -1) -> Any:
    return page.locator(".pg-answer").nth(at)


async def _ended(page: Page, answers: int) -> None:
    await expect(page.locator(".pg-answer:not([aria-busy])")).to_have_count(answers)


async def _numbers(page: Page, at: int = -1) -> dict[str, str]:
    names = await _answer(page, at).locator(".pg-numbers dt").all_inner_texts()
    values = await _answer(page, at).locator(".pg-numbers dd").all_inner_texts()
    return dict(zip(names, values, strict=True))


async def _eventually(condition: Callable[[], object]) -> None:
    """Wait without blocking the loop, which is the browser's."""
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen within 4 s")


def _messages(lane: Lane, at: int = -1) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = lane.calls[at].json["messages"]
    return messages


async def test_s3_6_s3_28_an_answer_streams_with_its_numbers_and_who_gave_it(
    visit: Visit, room: Room
) -> None:
    pieces = ("Here is ", "code:\n``", "`python\nprint(1)\n", "```\nand more.")
    room.one.default = Script(pieces=pieces, gap=0.05, reasoning=("Let me ", "think."))
    page = await _open(visit, room)
    await page.fill("#pg-system", "Be brief.")
    await page.click("summary:has-text('Parameters')")
    await page.fill("#field-temperature", "0.5")
    await page.fill("#field-stop", "END\nSTOP")
    await _send(page, "Show me code")
    assert await page.evaluate("document.activeElement.id") == "pg-prompt"
    await _ended(page, 1)
    answer = _answer(page)
    assert await answer.locator(".pg-body pre code").inner_text() == "print(1)\n"
    assert await answer.locator(".pg-body > p").all_inner_texts() == ["Here is code:", "and more."]
    await expect(answer.locator(".pg-reasoning")).not_to_have_attribute("open", "")
    assert await answer.locator(".pg-reasoning .pg-text").text_content() == "Let me think."
    numbers = await _numbers(page)
    # 9 prompt tokens at 1, 4 completion tokens at 10 USD per million.
    assert numbers["Cost"] == "$0.000049"
    assert numbers["Tokens"] == "9 + 4 (2 cached, 1 reasoning)"
    assert numbers["Finish"] == "stop"
    assert re.fullmatch(r"\d+ ms|\d+\.\d\d s", numbers["First token"])
    assert numbers["Speed"].endswith("tokens/s")
    facts = answer.locator(".pg-facts")
    await expect(facts).to_contain_text("playground-one is the only provider that takes requests for one.")
    await expect(facts).to_contain_text("$0.000049")
    await expect(page.locator("#pg-said")).to_contain_text("one: Here is code")
    sent = room.one.calls[-1]
    assert sent.json == {
        "model": "one",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Show me code"},
        ],
        "temperature": 0.5,
        "stop": ["END", "STOP"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert sent.header("cookie") is None
    (row,) = room.gateway.usage_rows(model="one")[:1]
    assert (row["credential"], row["tags"]) == ("a-team", {"source": "console"})
    assert row["endpoint"] == "/v1/chat/completions"


async def test_escape_stops_an_answer_and_its_provider(visit: Visit, room: Room) -> None:
    room.one.default = Script(pieces=("a beginning", " and more"), fault="stall", fault_at=3)
    page = await _open(visit, room)
    await _send(page, "Go on forever")
    await expect(_answer(page).locator(".pg-body")).to_contain_text("a beginning")
    assert await page.is_enabled("#pg-stop")
    await page.keyboard.press("Escape")
    await _ended(page, 1)
    assert (await _numbers(page))["Finish"] == "stopped by you"
    await _eventually(lambda: room.one.calls[-1].left)
    await expect(_answer(page).locator(".pg-facts")).to_contain_text("Recorded: aborted")
    assert await page.is_disabled("#pg-stop")
    # What was said until then is part of the conversation.
    room.one.default = Script()
    await _send(page, "And now?")
    await _ended(page, 2)
    assert [one["role"] for one in _messages(room.one)] == ["user", "assistant", "user"]


async def test_messages_can_be_edited_and_answers_retried(visit: Visit, room: Room) -> None:
    page = await _open(visit, room)
    await _send(page, "first")
    await _ended(page, 1)
    await _send(page, "second")
    await _ended(page, 2)
    # Another answer to the first message drops what came after it.
    room.one.next.append(Script(text="better"))
    await _answer(page, 0).get_by_role("button", name="Retry").click()
    await expect(page.locator("#pg-prompt")).to_be_focused()
    await expect(_answer(page, 0).locator(".pg-body")).to_have_text("better")
    await _ended(page, 1)
    assert [one["content"] for one in _messages(room.one)] == ["first"]
    # An edited answer is what the model is told that it said.
    await _answer(page, 0).get_by_role("button", name="Edit").click()
    await _answer(page, 0).locator("textarea").fill("what it should have said")
    await _answer(page, 0).get_by_role("button", name="Save").click()
    # The focus is where it was before.
    await expect(_answer(page, 0).get_by_role("button", name="Edit")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Escape")
    await expect(_answer(page, 0).get_by_role("button", name="Edit")).to_be_focused()
    await _send(page, "third")
    await _ended(page, 2)
    assert [one["content"] for one in _messages(room.one)] == ["first", "what it should have said", "third"]
    # An edited message is sent again.
    user = page.locator(".pg-user").nth(0)
    await user.get_by_role("button", name="Edit").click()
    await page.keyboard.press("Escape")
    await expect(user.get_by_role("button", name="Edit")).to_be_focused()
    await page.keyboard.press("Enter")
    await user.locator("textarea").fill("first, in other words")
    await user.get_by_role("button", name="Send again").click()
    await _ended(page, 1)
    assert [one["content"] for one in _messages(room.one)] == ["first, in other words"]
    await page.click("text=New conversation")
    await expect(page.locator(".pg-turn")).to_have_count(0)


async def test_two_models_answer_side_by_side(visit: Visit, room: Room) -> None:
    room.one.default = Script(text="one says this")
    room.two.default = Script(text="two says that")
    page = await _open(visit, room)
    await page.click("#pg-compare")
    await page.keyboard.type("two")
    await _send(page, "Compare")
    await _ended(page, 2)
    assert await page.locator(".pg-body").all_inner_texts() == ["one says this", "two says that"]
    first, second = [await _answer(page, at).bounding_box() for at in (0, 1)]
    assert first is not None
    assert second is not None
    assert first["y"] == second["y"]
    assert (await _numbers(page, 0))["Cost"] == (await _numbers(page, 1))["Cost"] == "$0.000049"
    await _send(page, "Go on")
    await _ended(page, 4)
    # Each model has its own history.
    assert _messages(room.one)[1]["content"] == "one says this"
    assert _messages(room.two)[1]["content"] == "two says that"
    await page.get_by_role("button", name="Remove").click()
    await expect(page.locator("#pg-compare")).to_be_focused()
    await _ended(page, 2)


async def test_images_are_picked_previewed_and_sent(visit: Visit, room: Room) -> None:
    page = await _open(visit, room)
    file = FilePayload(name="pixel.png", mimeType="image/png", buffer=PIXEL)
    await page.set_input_files("#pg-files", [file])
    await expect(page.locator("#pg-images img")).to_have_attribute("alt", "pixel.png")
    assert (
        await page.locator("#pg-images img").evaluate(
            "(image) => image.decode().then(() => image.naturalWidth)"
        )
        == 1
    )
    large = FilePayload(name="large.png", mimeType="image/png", buffer=b"x" * (5 * 1024 * 1024 + 1))
    await page.set_input_files("#pg-files", [large])
    await expect(page.locator("#pg-problem")).to_contain_text("large.png is larger than 5 MiB")
    await _send(page, "What is this?")
    await _ended(page, 1)
    url = f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"
    (message,) = _messages(room.one)
    assert message["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    await expect(page.locator("#pg-images img")).to_have_count(0)
    await expect(page.locator(".pg-user img")).to_have_count(1)


async def test_a_pasted_image_is_added(visit: Visit, room: Room) -> None:
    page = await _open(visit, room)
    await page.evaluate(
        """(text) => {
          const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
          const data = new DataTransfer();
          data.items.add(new File([bytes], "pasted.png", { type: "image/png" }));
          const paste = new ClipboardEvent("paste", { clipboardData: data, cancelable: true });
          document.getElementById("pg-prompt").dispatchEvent(paste);
        }""",
        base64.b64encode(PIXEL).decode(),
    )
    await expect(page.locator("#pg-images img")).to_have_attribute("alt", "pasted.png")
    await page.get_by_role("button", name="Remove pasted.png").click()
    await expect(page.locator("#pg-images img")).to_have_count(0)


async def test_a_tool_call_is_shown_and_answered(visit: Visit, room: Room) -> None:
    call = Tool(id="call-1", name="weather", arguments='{"city": "Vienna"}')
    room.one.next.append(Script(tools=(call,), text="", finish_reason="tool_calls"))
    room.one.default = Script(text="It rains.")
    page = await _open(visit, room)
    await page.click("summary:has-text('Tools')")
    await page.fill("#field-tools", "[{]")
    await _send(page, "Weather?")
    await expect(page.locator(".field:has(#field-tools) .error")).to_contain_text("must be JSON")
    assert await page.evaluate("document.activeElement.id") == "field-tools"
    assert not room.one.calls
    await page.fill("#field-tools", json.dumps(TOOLS))
    await page.select_option("#field-tool_choice", "required")
    await _send(page, "Weather?")
    await _ended(page, 1)
    assert (room.one.calls[-1].json["tools"], room.one.calls[-1].json["tool_choice"]) == (TOOLS, "required")
    await expect(_answer(page).locator(".pg-calls pre")).to_have_text('{\n  "city": "Vienna"\n}')
    await _send(page, "Never mind")
    await expect(page.locator("#pg-problem")).to_contain_text("A tool call waits for its result")
    await page.get_by_label("Result of weather").fill('{"rain": true}')
    await page.get_by_role("button", name="Send results").click()
    await _ended(page, 2)
    await expect(_answer(page).locator(".pg-body")).to_have_text("It rains.")
    assert _messages(room.one)[1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call-1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": call.arguments},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call-1", "content": '{"rain": true}'},
    ]


async def test_structured_output_is_asked_for_and_checked(visit: Visit, room: Room) -> None:
    page = await _open(visit, room)
    await page.click("summary:has-text('Structured output')")
    await page.select_option("#field-response_format", "json_schema")
    await _send(page, "Where?")
    await expect(page.locator(".field:has(#field-schema) .error")).to_have_text(
        "Enter the schema, or choose another format."
    )
    await page.fill("#field-schema", json.dumps(SCHEMA))
    for text, verdict in (('{"city": "Vienna"}', "valid JSON"), ("Vienna", "not JSON")):
        room.one.next.append(Script(text=text))
        await _send(page, "Where?")
        await expect(page.locator("[aria-busy=true]")).to_have_count(0)
        await expect(_answer(page).locator(".pg-numbers")).to_contain_text(verdict)
    assert room.one.calls[-1].json["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA},
    }


async def test_a_whole_answer_with_extra_fields(visit: Visit, room: Room) -> None:
    page = await _open(visit, room)
    await page.uncheck("#pg-stream")
    await page.click("summary:has-text('More')")
    await page.fill("#field-extra", '{"metadata": {"a": "b"}, "temperature": 1}')
    await _send(page, "Hello")
    await _ended(page, 1)
    sent = room.one.calls[-1].json
    assert (sent["metadata"], sent["temperature"], "stream" in sent) == ({"a": "b"}, 1, False)
    await expect(_answer(page).locator(".pg-body")).to_have_text("playground-one says: Hello")
    assert (await _numbers(page))["Cost"] == "$0.000049"


async def test_a_refusal_says_why_and_where_to_change_it(visit: Visit, room: Room) -> None:
    visiting = await visit(room.gateway.origin)
    visiting.faults.expect_status(429, 404)
    page = await visiting.open(PATH)
    await page.select_option("#pg-credential", label="b-limited")
    for _ in range(2):
        await _send(page, "Hello")
        await expect(page.locator("[aria-busy=true]")).to_have_count(0)
    problem = _answer(page).locator(".pg-problem")
    await expect(problem).to_contain_text("Rate limit reached: 1 requests per second for this API key.")
    link = problem.get_by_role("link", name="The credential and its limits")
    assert re.fullmatch(r"/console/credentials/\d+", str(await link.get_attribute("href")))
    await page.select_option("#pg-credential", label="a-team")
    await page.fill("#pg-model", "nobody-serves-this")
    await _send(page, "Hello")
    await expect(_answer(page).locator(".pg-problem")).to_contain_text("nobody-serves-this")


async def test_a_stream_that_is_cut_shows_what_came_and_why_it_ended(visit: Visit, room: Room) -> None:
    room.one.default = Script(pieces=("half an", " answer", " and the rest"), fault="reset", fault_at=3)
    page = await _open(visit, room)
    await _send(page, "Hello")
    await _ended(page, 1)
    await expect(_answer(page).locator(".pg-body")).to_contain_text("half an")
    await expect(_answer(page).locator(".pg-problem")).to_contain_text("upstream")
    await expect(_answer(page).locator(".pg-facts")).to_contain_text("Recorded: error")


async def test_texts_of_models_and_users_are_never_html(visit: Visit, room: Room) -> None:
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>\n```<b>\n</code><i>x</i>\n```"
    call = Tool(id="1", name="<b>name</b>", arguments="<script>alert(3)</script>")
    room.one.default = Script(text=hostile, reasoning=(hostile,))
    room.two.default = Script(tools=(call,))
    page = await _open(visit, room)
    await page.click("#pg-compare")
    await page.keyboard.type("two")
    await _send(page, hostile)
    await _ended(page, 2)
    assert hostile.splitlines()[0] in await _answer(page, 0).locator(".pg-body").inner_text()
    assert "Calls <b>name</b>" in await _answer(page, 1).locator(".pg-calls").inner_text()
    assert await _answer(page, 0).locator(".pg-body code").inner_text() == "</code><i>x</i>\n"
    assert await page.locator(".pg-turn img, .pg-turn script, .pg-turn i, .pg-turn b").count() == 0


async def test_a_reload_keeps_the_conversation(visit: Visit, room: Room) -> None:
    page = await _open(visit, room)
    await page.fill("#pg-system", "Be brief.")
    await page.click("#pg-compare")
    await page.keyboard.type("two")
    await _send(page, "Remember me")
    await _ended(page, 2)
    await page.fill("#pg-prompt", "a draft")
    await page.reload()
    await _ended(page, 2)
    assert await page.input_value("#pg-prompt") == "a draft"
    assert await page.input_value("#pg-system") == "Be brief."
    models = page.locator("[name=model]")
    assert [await models.nth(at).input_value() for at in (0, 1)] == ["one", "two"]
    await expect(_answer(page, 0).locator(".pg-facts")).to_contain_text("Recorded: ok")
    kept = await page.evaluate("JSON.stringify(sessionStorage)")
    assert "key" not in json.loads(kept)
    assert "sk-" not in kept


async def test_the_request_as_code_is_what_was_sent(visit: Visit, room: Room) -> None:
    page = await _open(visit, room)
    text = 'It\'s "quoted"\\ and $HOME `date`\nwith lines\N{SNOWMAN}\N{PILE OF POO}'
    await page.click("summary:has-text('More')")
    await page.fill("#field-extra", '{"metadata": {"yes": true, "no": null}, "x_unknown": [1.5, {}]}')
    await _send(page, text)
    await _ended(page, 1)
    expected = room.one.calls[-1].json
    await page.click("#pg-code summary")
    await expect(page.locator("#pg-samples code")).to_have_count(3)
    curl, python, javascript = await page.locator("#pg-samples code").all_inner_texts()
    key = room.gateway.create_credential("code")
    for command in (
        ["bash", "-c", curl.replace("YOUR_KEY", key)],
        [sys.executable, "-c", python.replace("YOUR_KEY", key)],
    ):
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=True, timeout=30
        )
        assert done.stdout
        assert room.one.calls[-1].json == expected
    assert f'baseURL: "{room.gateway.origin}/v1"' in javascript
    assert "YOUR_KEY" in javascript


async def test_viewers_see_the_page_and_send_nothing(visit: Visit, room: Room) -> None:
    visiting = await visit(room.gateway.origin, key=VIEWER_KEY)
    page = await visiting.open(PATH)
    await expect(page.locator(".notice")).to_contain_text("The viewer key cannot send chats")
    assert await page.is_disabled("#pg-send")
    await _send(page, "Hello")
    await expect(page.locator(".pg-turn")).to_have_count(0)
    assert not room.one.calls


async def test_one_turn_without_javascript(visit: Visit, room: Room) -> None:
    room.one.default = Script(text="a <b>whole</b> answer")
    visiting = await visit(room.gateway.origin, java_script_enabled=False)
    page = await visiting.open(PATH)
    await page.fill("#pg-prompt", "Hello")
    await page.click("#pg-send")
    await expect(page.locator("#pg-single")).to_contain_text("a <b>whole</b> answer")
    await expect(page.locator("#pg-single")).to_contain_text("$0.000049")
    assert await page.input_value("#pg-prompt") == "Hello"


async def test_a_conversation_fits_a_narrow_screen_and_is_accessible(visit: Visit, room: Room) -> None:
    call = Tool(id="1", name="weather", arguments='{"city": "' + "x" * 300 + '"}')
    room.one.default = Script(text="y" * 300 + "\n```\n" + "z" * 300 + "\n```")
    room.two.default = Script(tools=(call,))
    page = await _open(visit, room, width=NARROW, scheme="dark")
    await page.click("#pg-compare")
    await page.keyboard.type("two")
    await _send(page, "w" * 300)
    await _ended(page, 2)
    await page.click("#pg-code summary")
    await expect(page.locator("#pg-samples code")).to_have_count(3)
    for summary in ("Parameters", "Tools", "Structured output", "More"):
        await page.click(f".pg-settings summary:has-text('{summary}')")
    assert await overflow(page) <= 0
    assert await grave_findings(page) == []


async def test_below_a_path_prefix(
    visit: Visit, fake: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for gateway in _run(tmp_path_factory.mktemp("prefixed-playground"), ROOT_PATH="/gw"):
        room = Room(gateway, fake)
        visiting = await visit(gateway.origin, prefix="/gw")
        page = await visiting.open(PATH)
        await _send(page, "Hello")
        await _ended(page, 1)
        await expect(_answer(page).locator(".pg-facts a")).to_have_attribute(
            "href", re.compile("^/gw/console/requests/")
        )
        await page.click("#pg-code summary")
        await expect(page.locator("#pg-samples code").first).to_contain_text(f"{gateway.origin}/gw/v1/chat")
        eventually(lambda room=room: room.gateway.usage_rows(), bool)  # type: ignore[misc]
