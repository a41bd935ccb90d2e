"""The official OpenAI SDK's legacy completions, model lists and exceptions through the gateway."""

from __future__ import annotations

import re
from typing import Any

import openai
import pytest

from tests.e2e.conftest import Desk
from tests.e2e.gateway_process import eventually
from tests.fakes.script import Script, error_body, error_script, script

MESSAGES: Any = [{"role": "user", "content": "hello"}]
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.mark.parametrize("prompt", ["say hi", ["say hi", "say ho"], [15, 27, 9], [[15, 27], [9]]])
def test_s4_25_legacy_prompts_pass_through(desk: Desk, prompt: Any) -> None:
    lane = desk.provider()
    made = desk.sdk.completions.create(model=desk.model, prompt=prompt, max_tokens=5)
    assert len(made.choices) == (2 if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1)
    assert made.object == "text_completion"
    assert lane.last.path == "/v1/completions"
    assert lane.last.json == {"model": desk.upstream_model, "prompt": prompt, "max_tokens": 5}


@pytest.mark.parametrize("usage", [False, True])
def test_s4_25_legacy_streams(desk: Desk, usage: bool) -> None:
    desk.provider()
    options: Any = {"stream_options": {"include_usage": True}} if usage else {}
    stream = desk.sdk.completions.create(
        model=desk.model,
        prompt="hi",
        stream=True,
        extra_body={"fake": script(text="a legacy text")},
        **options,
    )
    chunks = list(stream)
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert text == "a legacy text"
    assert (chunks[-1].usage is not None) == usage
    row = eventually(lambda: desk.gateway.usage_rows(model=desk.model), bool)[0]
    assert (row["endpoint"], row["stream"], row["total_tokens"]) == ("/v1/completions", True, 13)


async def test_s4_25_legacy_async(desk: Desk) -> None:
    desk.provider()
    async with desk.async_sdk as client:
        made = await client.completions.create(model=desk.model, prompt="hi", logprobs=1)
    assert made.choices[0].logprobs is not None


def test_s4_26_models_are_those_the_credential_may_use(desk: Desk) -> None:
    other = f"other-{desk.number}"
    desk.provider(model_mapping={desk.model: "a", other: "b", f"glob-{desk.number}-*": "*"})
    desk.provider("second", model_mapping={desk.model: "c"})
    hidden = f"hidden-{desk.number}"
    desk.provider("off", model_mapping={hidden: "d"}, is_enabled=False)
    listed = [model.id for model in desk.sdk.models.list()]
    assert listed.count(desk.model) == 1
    assert other in listed
    assert hidden not in listed
    assert not [name for name in listed if "*" in name]
    key = desk.credential("-narrow", allowed_models=[f"oth*-{desk.number}"])
    client = desk.gateway.sdk(key)
    assert [model.id for model in client.models.list()] == [other]
    assert desk.gateway.sdk(desk.credential("-none", allowed_models=[])).models.list().data == []


def test_s4_26_one_model(desk: Desk) -> None:
    desk.provider()
    model = desk.sdk.models.retrieve(desk.model)
    assert (model.id, model.object) == (desk.model, "model")
    with pytest.raises(openai.NotFoundError) as caught:
        desk.sdk.models.retrieve("no-such-model")
    assert caught.value.code == "model_not_found"
    assert "no-such-model" in caught.value.message


def test_s4_26_a_model_may_have_a_slash_in_its_name(desk: Desk) -> None:
    name = f"meta/llama-{desk.number}"
    lane = desk.provider(model_mapping={name: "llama"})
    assert desk.sdk.models.retrieve(name).id == name
    desk.sdk.chat.completions.create(model=name, messages=MESSAGES)
    assert lane.last.json["model"] == "llama"


def test_c19_a_wildcard_provider_adds_its_own_list(desk: Desk) -> None:
    lane = desk.fake.lane(f"wild-{desk.number}")
    lane.models = (f"wild-a-{desk.number}", f"wild-b-{desk.number}")
    desk.provider("wild", model_mapping={f"wild-*-{desk.number}": "*"})
    listed = {model.id for model in desk.sdk.models.list()}
    assert set(lane.models) <= listed
    desk.sdk.chat.completions.create(model=f"wild-z-{desk.number}", messages=MESSAGES)
    assert lane.last.json["model"] == f"wild-z-{desk.number}"


def test_c37_no_key_and_wrong_keys(desk: Desk) -> None:
    desk.provider()
    disabled = desk.credential("-off", is_enabled=False)
    for key in ("sk-unknown", disabled, desk.gateway.settings["ADMIN_KEY"]):
        with pytest.raises(openai.AuthenticationError) as caught:
            desk.gateway.sdk(key).chat.completions.create(model=desk.model, messages=MESSAGES)
        assert (caught.value.code, caught.value.type) == ("invalid_api_key", "invalid_request_error")
        assert key not in caught.value.message
        assert _UUID7.fullmatch(caught.value.request_id or "")
    assert desk.gateway.post("/v1/chat/completions", None, json=desk.body()).status_code == 401
    assert desk.gateway.http.get("/v1/models").status_code == 401


def test_c37_model_not_allowed(desk: Desk) -> None:
    desk.provider()
    client = desk.gateway.sdk(desk.credential("-narrow", allowed_models=["gpt-4*"]))
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.create(model=desk.model, messages=MESSAGES)
    assert caught.value.code == "model_not_allowed"
    assert desk.model in caught.value.message


def test_c37_unknown_model(desk: Desk) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        desk.sdk.chat.completions.create(model="no-such-model", messages=MESSAGES)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert "no-such-model" in caught.value.message


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, openai.BadRequestError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
    ],
)
def test_c32_a_providers_refusal_passes_through(
    desk: Desk, stream: bool, status: int, expected: type[openai.APIStatusError]
) -> None:
    lane = desk.failing(error_script(status, retry_after="7" if status == 429 else None))
    with pytest.raises(expected) as caught:
        desk.sdk.chat.completions.create(model=desk.model, messages=MESSAGES, stream=stream)
    said = error_script(status).body
    assert said is not None
    body: Any = caught.value.body
    assert body["message"].encode() in said
    assert _UUID7.fullmatch(caught.value.request_id or "")
    assert len(lane.chats) == 1
    if status in {400, 404, 422}:
        assert body["code"].encode() in said
        assert caught.value.response.headers.get("retry-after") is None
    if status == 429:
        assert caught.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "expected"), [(401, 502), (500, 502), (503, 503), (529, 503), (504, 504)])
def test_c32_a_providers_failure_becomes_ours(desk: Desk, stream: bool, status: int, expected: int) -> None:
    secret = "sk-upstream-secret"
    lane = desk.failing(
        Script(status=status, body=error_body(f"Bad key {secret} at http://127.0.0.1/"), ignore_stream=True)
    )
    with pytest.raises(openai.InternalServerError) as caught:
        desk.sdk.chat.completions.create(model=desk.model, messages=MESSAGES, stream=stream)
    assert caught.value.status_code == expected
    text = caught.value.response.text
    assert secret not in text
    assert "127.0.0.1" not in text
    assert lane.name not in text


def test_a_secret_in_a_providers_refusal_is_replaced(desk: Desk) -> None:
    secret = f"sk-quoted-secret-{desk.number}-abcdef"
    lane = desk.failing(Script(), api_key=secret)
    lane.default = Script(
        status=400, body=error_body(f"Key {secret} may not; see {lane.base_url}/x", code="no")
    )
    with pytest.raises(openai.BadRequestError) as caught:
        desk.sdk.chat.completions.create(model=desk.model, messages=MESSAGES)
    assert lane.last.header("authorization") == f"Bearer {secret}"
    text = caught.value.response.text
    assert "may not" in text
    assert secret not in text
    assert lane.base_url not in text
    assert caught.value.code == "no"


def test_client_leaves_in_mid_stream(desk: Desk) -> None:
    lane = desk.provider()
    plan = script(pieces=["word "] * 200, gap=0.05)
    stream = desk.sdk.chat.completions.create(
        model=desk.model, messages=MESSAGES, stream=True, extra_body={"fake": plan}
    )
    request_id = stream.response.headers["x-request-id"]
    for number, _ in enumerate(stream):
        if number == 3:
            break
    stream.close()
    lane.wait(lambda calls: calls[0].left, 3)
    row = desk.gateway.usage_row(request_id)
    assert (row["outcome"], row["stream"]) == ("aborted", True)
    assert row["completion_tokens"] > 0
    assert row["usage_source"] in {"counted", "estimated"}


def test_client_leaves_during_a_unary_call(desk: Desk) -> None:
    lane = desk.failing(Script(delay=30))
    client = desk.gateway.sdk(desk.key, timeout=0.3)
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model=desk.model, messages=MESSAGES)
    lane.wait(lambda calls: calls[0].left, 3)
    row = eventually(lambda: desk.gateway.usage_rows(model=desk.model), bool)[0]
    assert row["outcome"] == "aborted"
    assert row["attempts"] == 1


def test_client_leaves_before_the_first_content(desk: Desk) -> None:
    lane = desk.failing(Script(fault="stall", fault_at=1))
    client = desk.gateway.sdk(desk.key, timeout=0.3)
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model=desk.model, messages=MESSAGES, stream=True)
    lane.wait(lambda calls: calls[0].left, 3)
    assert eventually(lambda: desk.gateway.usage_rows(model=desk.model), bool)[0]["outcome"] == "aborted"
