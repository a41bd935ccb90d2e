"""The playground's page, its single turn, and what it says of a request that has ended."""

from __future__ import annotations

import json
from typing import Any

from llm_gateway.console.services import ConsoleServices
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.errors import NotFound
from llm_gateway.flow.explain.answer import Explanation, Question
from llm_gateway.flow.explain.explainer import explain
from llm_gateway.http.model_routes.data_plane import Handler
from llm_gateway.http.types import Receive, Scope, Send
from tests.fakes.console_app import browser, services
from tests.fakes.in_memory import FakeClock, FakeGateway, Fixed, ScriptedUpstream, credential, provider
from tests.fakes.routing import snapshot_of
from tests.fakes.usage_reader import ListedUsage
from tests.unit.console.playground.test_reasons import record

HOSTILE = "<script>alert('x')</script>"
FORM = {"credential": "1", "model": "m", "prompt": "Hello"}


class Chats:
    """Answers chats, and notes as whom they were sent."""

    def __init__(self, status: int = 200, body: Any = None) -> None:
        self.status = status
        self.body = body or {"choices": [{"message": {"content": HOSTILE}, "finish_reason": "stop"}]}
        self.sent: list[tuple[int, Any]] = []

    def __call__(self, credential_id: int) -> Handler:
        async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
            del scope, request_id
            self.sent.append((credential_id, json.loads((await receive())["body"])))
            await send({"type": "http.response.start", "status": self.status, "headers": []})
            await send({"type": "http.response.body", "body": json.dumps(self.body).encode()})

        return handler


def room(
    *credentials: Credential, providers: Any = None, chats: Chats | None = None, rows: Any = ()
) -> ConsoleServices:
    given = credentials or (credential(name="team"),)
    served = (provider("main", model_mapping={"m": "m", HOSTILE: "m"}),) if providers is None else providers
    bench = FakeGateway(*served, upstream=ScriptedUpstream(), credentials=given)
    before = (*served, provider("before", 9, model_mapping={"m": "m"}))
    earlier = FakeGateway(*before, upstream=ScriptedUpstream(), credentials=given)

    async def flush() -> bool:
        return True

    async def explain_earlier(question: Question, version: int) -> Explanation:
        if version < 5:
            raise NotFound("That version is gone.")
        return explain(earlier.gateway, question)

    return services(
        snapshots=Fixed(snapshot_of(*served, credentials=given)),
        clock=FakeClock(),
        chat_as=chats or Chats(),
        usage=ListedUsage(*rows),
        explain=lambda question: explain(bench.gateway, question),
        explain_earlier=explain_earlier,
        flush=flush,
    )


async def test_models_and_credentials_are_offered_and_the_first_ones_chosen() -> None:
    disabled = credential("b", 2, name="aaa disabled", is_enabled=False)
    expired = credential("c", 3, name="aaa expired", expires_at=1)
    revoked = credential("d", 4, name="aaa revoked", revoked_at=1)
    hostile = credential("e", 5, name=HOSTILE)
    async with browser(room(credential(name="team"), disabled, expired, revoked, hostile)) as client:
        text = (await client.get("/console/playground")).text
        assert '<option value="5" selected>' in text
        assert "aaa" not in text
        assert HOSTILE not in text
        assert 'value="m" list="pg-models"' in text
        text = (await client.get("/console/playground?credential=1&model=other")).text
    assert '<option value="1" selected>' in text
    assert 'value="other" list="pg-models"' in text


async def test_a_provider_of_every_name_is_asked_for_a_usual_one() -> None:
    async with browser(room(providers=(provider("main", model_mapping={}),))) as client:
        text = (await client.get("/console/playground")).text
    assert 'value="gpt-4o-mini" list="pg-models"' in text


async def test_without_a_credential_or_a_model_the_page_says_what_to_do() -> None:
    async with browser(room(credential(is_enabled=False))) as client:
        text = (await client.get("/console/playground")).text
    assert "Create a credential" in text
    assert "<textarea" not in text
    async with browser(room(providers=())) as client:
        assert "Add a provider" in (await client.get("/console/playground")).text


async def test_at_most_200_credentials_are_listed_and_the_chosen_one_always() -> None:
    many = [credential(str(at), at, name=f"c{at:03}") for at in range(1, 251)]
    async with browser(room(*many)) as client:
        text = (await client.get("/console/playground?credential=249")).text
    assert text.count("<option value=") < 240
    assert '<option value="249" selected>c249</option>' in text
    assert "49 more are not listed" in text


async def test_no_configuration_is_a_503() -> None:
    made = services(snapshots=Fixed(None))
    async with browser(made) as client:
        assert (await client.get("/console/playground")).status_code == 503


async def test_one_turn_as_a_form() -> None:
    chats = Chats()
    async with browser(room(chats=chats)) as client:
        reply = await client.post("/console/playground", data=FORM | {"temperature": "0.5"})
    assert reply.status_code == 200
    assert chats.sent == [
        (
            1,
            {
                "model": "m",
                "messages": [{"role": "user", "content": "Hello"}],
                "temperature": 0.5,
                "stream": False,
            },
        )
    ]
    assert HOSTILE not in reply.text
    assert "&lt;script&gt;" in reply.text
    assert ">Hello</textarea>" in reply.text


async def test_an_error_of_the_gateway_is_shown() -> None:
    chats = Chats(429, {"error": {"message": f"Too many {HOSTILE}"}})
    async with browser(room(chats=chats)) as client:
        reply = await client.post("/console/playground", data=FORM)
    assert "Too many &lt;script&gt;" in reply.text


async def test_what_is_wrong_with_the_form_stands_beside_its_field_and_nothing_is_sent() -> None:
    chats = Chats()
    async with browser(room(chats=chats)) as client:
        for wrong in ({"tools": "{"}, {"prompt": " "}, {"model": ""}, {"credential": "x"}):
            reply = await client.post("/console/playground", data=FORM | wrong)
            assert reply.status_code == 422
            assert 'class="error"' in reply.text
    assert chats.sent == []


async def test_a_chat_is_handed_to_the_credential_of_its_path() -> None:
    chats = Chats()
    path = "/console/playground/credentials/7/chat/completions"
    async with browser(room(chats=chats)) as client:
        reply = await client.post(path, json={"model": "m"})
        assert reply.headers["content-security-policy"]
        assert (await client.post(path, json={}, headers={"origin": "http://evil.test"})).status_code == 403
    assert chats.sent == [(7, {"model": "m"})]
    async with browser(room(chats=chats), role="viewer") as client:
        assert (await client.post(path, json={})).status_code == 403
        assert (await client.post("/console/playground", data=FORM)).status_code == 403
        assert "The viewer key cannot send chats" in (await client.get("/console/playground")).text
    async with browser(room(chats=chats), role=None) as client:
        assert (await client.post(path, json={})).status_code == 401
    assert len(chats.sent) == 1


async def test_what_is_known_of_a_request() -> None:
    row = record(
        request_id="r-1", provider=HOSTILE, cost_nano_usd=1500, usage_source="provider", prompt_tokens=3
    )
    async with browser(room(rows=[row])) as client:
        reply = await client.get("/console/playground/requests/r-1?model=m")
        assert reply.status_code == 200
        assert "<html" not in reply.text
        assert HOSTILE not in reply.text
        assert "$0.0000015" in reply.text
        assert 'href="/console/requests/r-1"' in reply.text
        assert (await client.get("/console/playground/requests/unknown")).status_code == 202
        assert (await client.get(f"/console/playground/requests/{'x' * 101}")).status_code == 404


async def test_the_reasons_are_those_of_the_configuration_that_the_request_had() -> None:
    versions = {"now": 1, "earlier": 5, "lost": 4}
    rows = [
        record(request_id=name, provider="main", config_version=version) for name, version in versions.items()
    ]
    async with browser(room(rows=rows)) as client:
        pages = {name: (await client.get(f"/console/playground/requests/{name}")).text for name in versions}
    assert "main is the only provider" in pages["now"]
    assert "2 providers take requests for m" in pages["earlier"]
    assert "requests for m" not in pages["lost"]
