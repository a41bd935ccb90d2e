"""The OpenAI SDK through the gateway to Azure, and to a server that refuses what it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.e2e.conftest import Desk
from tests.e2e.gateway_process import accepted
from tests.fakes.strict_servers import (
    API_VERSION,
    CLIENT,
    CLIENT_SECRET,
    DEPLOYMENT,
    KEY,
    SCOPE,
    StrictServers,
)

STORE_MATTERS = False

MESSAGES: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def picky() -> Iterator[StrictServers]:
    started = StrictServers().start()
    yield started
    started.stop()


@pytest.fixture
def azure(desk: Desk, picky: StrictServers) -> Desk:
    desk.provider(
        provider_type="azure", api_base=picky.azure, api_key=KEY, model_mapping={desk.model: DEPLOYMENT}
    )
    return desk


@pytest.fixture
def strict(desk: Desk, picky: StrictServers) -> Desk:
    desk.provider(provider_type="mistral", api_base=picky.strict)
    return desk


def text_of(stream: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def test_azure_answers_whole_and_streamed(azure: Desk, picky: StrictServers) -> None:
    whole = azure.sdk.chat.completions.create(model=azure.model, messages=MESSAGES)
    assert whole.choices[0].message.content == "Hello!"
    assert (
        text_of(azure.sdk.chat.completions.create(model=azure.model, messages=MESSAGES, stream=True))
        == "Hello!"
    )
    assert [path for path, _ in picky.seen[-2:]] == ["/azure/openai/v1/chat/completions"] * 2
    rows = azure.gateway.usage_rows(model=azure.model)
    assert [(row["outcome"], row["total_tokens"], row["usage_source"]) for row in rows] == [
        ("ok", 29, "provider")
    ] * 2


def test_azure_with_a_version_is_asked_by_deployment(azure: Desk, picky: StrictServers) -> None:
    name = f"main-{azure.number}"
    accepted(azure.gateway.admin.patch(f"/providers/{name}", json={"api_version": API_VERSION}))
    whole = azure.sdk.chat.completions.create(model=azure.model, messages=MESSAGES)
    assert whole.choices[0].message.content == "Hello!"
    path = "/azure/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"
    assert picky.seen[-1][0] == path


def test_s1_14_entra_ids_token_is_got_once_and_shown(azure: Desk, picky: StrictServers) -> None:
    name = f"main-{azure.number}"
    grant = {"token_url": picky.tokens, "client_id": CLIENT, "scope": SCOPE}
    accepted(
        azure.gateway.admin.patch(f"/providers/{name}", json={"oauth2": grant, "api_key": CLIENT_SECRET})
    )
    granted = picky.granted
    for _ in range(3):
        result = accepted(azure.gateway.admin.post(f"/providers/{name}/test"))
        assert result["ok"], result
    assert accepted(azure.gateway.admin.get(f"/providers/{name}/models"))["data"]
    # A client's own chats are sent under the same token.
    assert azure.chat().status_code == 200
    assert "[DONE]" in azure.chat(stream=True).text
    assert picky.granted == granted + 1
    accepted(azure.gateway.admin.patch(f"/providers/{name}", json={"api_key": "another"}))
    result = accepted(azure.gateway.admin.post(f"/providers/{name}/test"))
    assert not result["ok"]
    assert result["error"].startswith("The token endpoint refused with status 401 and invalid_client")


def test_azures_content_filter_is_told_in_its_words(azure: Desk) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        azure.sdk.chat.completions.create(
            model=azure.model, messages=[{"role": "user", "content": "violence"}]
        )
    assert caught.value.code == "content_filter"
    assert "content management policy" in caught.value.message


def test_azure_is_tried_out(azure: Desk) -> None:
    name = f"main-{azure.number}"
    result = accepted(azure.gateway.admin.post(f"/providers/{name}/test"))
    assert (result["ok"], result["text"], result["model"]) == (True, "Hello!", DEPLOYMENT)
    offered = accepted(azure.gateway.admin.get(f"/providers/{name}/models"))["data"]
    assert offered == [{"id": "gpt-4.1-2025-04-14", "served_as": []}]
    assert azure.gateway.usage_rows(model=azure.model) == []
    wrong = accepted(azure.gateway.admin.post(f"/providers/{name}/test", json={"model": "nothing"}))
    assert (wrong["ok"], wrong["status"]) == (False, 404)
    assert wrong["error"].startswith("The provider answered with status 404: The API deployment")
    assert "Test of provider" in azure.gateway.log()


@pytest.mark.parametrize("options", [openai.omit, {"include_usage": True}], ids=["unasked", "asked"])
def test_a_server_that_refuses_stream_options_streams_with_its_usage(
    strict: Desk, picky: StrictServers, options: Any
) -> None:
    stream = strict.sdk.chat.completions.create(
        model=strict.model, messages=MESSAGES, stream=True, stream_options=options, max_completion_tokens=9
    )
    chunks = list(stream)
    assert text_of(chunks) == "Bonjour !"
    assert chunks[-1].usage is not None
    assert picky.seen[-1][1]["max_tokens"] == 9
    (row,) = strict.gateway.usage_rows(model=strict.model)
    assert (row["total_tokens"], row["usage_source"], row["outcome"]) == (50, "provider", "ok")


def test_what_it_is_not_sent_is_named_to_the_client(strict: Desk) -> None:
    answer = strict.chat(stream=True, stream_options={"include_usage": True})
    assert (answer.status_code, answer.headers["x-llm-gateway-ignored"]) == (200, "stream_options")
    assert "x-llm-gateway-ignored" not in strict.chat(stream=True).headers


def test_other_fields_that_it_refuses_are_told_in_its_words(strict: Desk) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        strict.sdk.chat.completions.create(model=strict.model, messages=MESSAGES, store=False)
    assert "body.store: Extra inputs are not permitted" in caught.value.message


def test_the_simulated_provider_is_tried_out_like_any_other(desk: Desk) -> None:
    # Disabled: it would serve other desks' models too.
    fields: dict[str, Any] = {
        "provider_type": "simulated",
        "api_base": "simulated://demo",
        "model_mapping": {},
    }
    name = desk.provider(**fields, is_enabled=False).name
    admin = desk.gateway.admin
    unnamed = accepted(admin.post(f"/providers/{name}/test"))
    assert (unnamed["ok"], unnamed["model"]) == (True, "simulated")
    result = accepted(admin.post(f"/providers/{name}/test", json={"model": "demo"}))
    assert result["ok"], result
    assert result["usage"]["completion_tokens"] == 16
    [listed] = accepted(admin.get(f"/providers/{name}/models"))["data"]
    assert listed["id"] == "simulated"


def test_an_answer_that_a_client_sends_back_is_taken_by_a_strict_server(
    strict: Desk, picky: StrictServers
) -> None:
    answer = {
        "role": "assistant",
        "content": "Hello!",
        "refusal": None,
        "reasoning_content": "Hm.",
        "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "signature": "s"}],
    }
    messages: list[Any] = [{"role": "developer", "content": "Be brief."}, *MESSAGES, answer, *MESSAGES]
    answered = strict.chat(messages=messages)
    assert answered.status_code == 200, answered.text
    assert answered.headers["x-llm-gateway-ignored"] == (
        "messages[2].reasoning_content, messages[2].reasoning_details"
    )
    plain = {"role": "assistant", "content": "Hello!"}
    system = {"role": "system", "content": "Be brief."}
    assert picky.seen[-1][1]["messages"] == [system, *MESSAGES, plain, *MESSAGES]
