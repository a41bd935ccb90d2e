"""What a provider of OpenAI's family refuses is not sent to it, and named to the client."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from llm_gateway.core.model_request import ModelRequest
from tests.fakes.openai_requests import body, encoded, model_request

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SIGNED = CALL | {"extra_content": {"google": {"thought_signature": "s"}}}
# An answer of this gateway's, sent back as it came.
ANSWER: dict[str, Any] = {
    "role": "assistant",
    "content": "Yes",
    "refusal": None,
    "reasoning_content": "Hm.",
    "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "signature": "s"}],
    "extra_content": {"google": {"thought_signature": "s"}},
    "tool_calls": [SIGNED],
}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "r"}
USER = {"role": "user", "content": "reasoning_content, \"developer\" and 'cache_control' are only words here"}
MESSAGES = [USER, ANSWER, RESULT]
PATHS = {
    "messages[1].extra_content", "messages[1].reasoning_content", "messages[1].reasoning_details",
    "messages[1].tool_calls[0].extra_content",
}  # fmt: skip
STRICT = ["openai", "azure", "mistral", "groq", "cerebras"]


def sent(kind: str, **fields: Any) -> tuple[Any, tuple[str, ...]]:
    settings = {"api_base": "https://r.openai.azure.com"} if kind == "azure" else {}
    made = encoded(kind, model_request(**fields), **settings)
    return body(made), made.ignored_fields


@pytest.mark.parametrize("kind", STRICT)
def test_own_fields_that_a_client_sends_back_are_not_sent_to_a_strict_kind(kind: str) -> None:
    made, ignored = sent(kind, messages=MESSAGES)
    plain = {"role": "assistant", "content": "Yes", "tool_calls": [CALL]}
    assert made["messages"] in ([USER, plain, RESULT], [USER, plain | {"refusal": None}, RESULT])
    assert ("refusal" in made["messages"][1]) is (kind in {"openai", "azure"})
    assert set(ignored) == PATHS


@pytest.mark.parametrize(
    "kind", ["deepseek", "openrouter", "vllm", "ollama", "llamacpp", "lmstudio", "together", "xai"]
)
def test_own_fields_are_sent_to_a_kind_that_takes_them(kind: str) -> None:
    assert sent(kind, messages=MESSAGES) == ({"model": "m", "messages": MESSAGES}, ())


def test_fireworks_takes_reasoning_content_and_no_other_own_field() -> None:
    made, ignored = sent("fireworks", messages=MESSAGES)
    assert made["messages"][1] == {
        "role": "assistant", "content": "Yes", "reasoning_content": "Hm.", "tool_calls": [CALL],
    }  # fmt: skip
    assert set(ignored) == PATHS - {"messages[1].reasoning_content"}


def test_another_server_under_the_kind_openai_gets_every_field() -> None:
    request = model_request(messages=MESSAGES)
    for address in (
        "http://localhost:8000/v1",
        "https://api.openai.com.test/v1",
        "https://api.moonshot.ai/v1",
    ):
        made = encoded("openai", request, api_base=address)
        assert (body(made)["messages"], made.ignored_fields) == (MESSAGES, ())
    made = encoded("openai", request, api_base="https://eu.api.openai.com/v1")
    assert set(made.ignored_fields) == PATHS


@pytest.mark.parametrize("kind", STRICT)
@pytest.mark.parametrize("nothing", [None, "", [], {}])
def test_a_field_that_says_nothing_is_removed_silently(kind: str, nothing: Any) -> None:
    answer = {
        "role": "assistant",
        "content": "Yes",
        "reasoning_content": nothing,
        "reasoning_details": nothing,
    }
    assert sent(kind, messages=[USER, answer]) == (
        {"model": "m", "messages": [USER, {"role": "assistant", "content": "Yes"}]}, (),
    )  # fmt: skip


@pytest.mark.parametrize("kind", STRICT)
def test_cache_control_is_removed_wherever_a_client_puts_it(kind: str) -> None:
    control = {"cache_control": {"type": "ephemeral"}}
    part = {"type": "text", "text": "q"}
    tool = {"type": "function", "function": {"name": "f"}}
    messages = [
        {"role": "user", "content": [part | control]} | control,
        {"role": "assistant", "tool_calls": [CALL | control]},
    ]
    made, ignored = sent(kind, messages=messages, tools=[tool | control])
    assert made["messages"] == [
        {"role": "user", "content": [part]},
        {"role": "assistant", "tool_calls": [CALL]},
    ]
    assert made["tools"] == [tool]
    assert ignored == (
        "messages[0].cache_control", "messages[0].content[0].cache_control",
        "messages[1].tool_calls[0].cache_control", "tools[0].cache_control",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["deepseek", "mistral", "together", "xai", "fireworks", "cerebras"])
def test_a_developer_is_the_system_where_the_role_is_not_known(kind: str) -> None:
    messages = [{"role": "developer", "content": "Be brief."}, USER]
    made, ignored = sent(kind, messages=messages)
    assert made["messages"] == [{"role": "system", "content": "Be brief."}, USER]
    assert ignored == ()


@pytest.mark.parametrize("kind", ["openai", "azure", "groq", "openrouter", "vllm", "ollama"])
def test_a_developer_is_sent_where_the_role_is_known(kind: str) -> None:
    messages = [{"role": "developer", "content": "Be brief."}, USER]
    assert sent(kind, messages=messages)[0]["messages"] == messages


@pytest.mark.parametrize("kind", ["mistral", "groq", "together", "xai", "cerebras"])
@pytest.mark.parametrize("effort", ["max", "xhigh"])
def test_an_effort_that_is_not_known_becomes_the_highest_and_is_named(kind: str, effort: str) -> None:
    made, ignored = sent(kind, messages=[USER], reasoning_effort=effort)
    assert (made["reasoning_effort"], ignored) == ("high", ("reasoning_effort",))
    for known in ("low", "high", None):
        assert sent(kind, messages=[USER], reasoning_effort=known)[0]["reasoning_effort"] == known


@pytest.mark.parametrize("kind", ["openai", "azure", "deepseek", "openrouter", "fireworks", "ollama"])
def test_the_highest_effort_is_sent_where_it_is_known(kind: str) -> None:
    assert sent(kind, messages=[USER], reasoning_effort="max") == (
        {"model": "m", "messages": [USER], "reasoning_effort": "max"}, (),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["mistral", "groq", "fireworks", "cerebras"])
def test_hints_are_not_sent_to_servers_that_refuse_unknown_fields(kind: str) -> None:
    hints: dict[str, Any] = {
        "prompt_cache_options": {"mode": "explicit"},
        "verbosity": "low",
        "safety_identifier": "u",
    }
    made, ignored = sent(kind, messages=[USER], **hints)
    assert made == {"model": "m", "messages": [USER]}
    assert ignored == tuple(sorted(hints))
    assert sent("openai", messages=[USER], **hints)[0].keys() > hints.keys()


@pytest.mark.parametrize(
    ("kind", "nothing"),
    [
        ("groq", {"logprobs": False, "logit_bias": {}, "top_logprobs": 0}),
        ("cerebras", {"frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}}),
    ],
)
def test_defaults_of_fields_that_a_server_refuses_are_not_sent(kind: str, nothing: dict[str, Any]) -> None:
    assert sent(kind, messages=[USER], **nothing) == ({"model": "m", "messages": [USER]}, ())
    name = next(iter(nothing))
    assert sent(kind, messages=[USER], **{name: 1})[0][name] == 1


def test_names_of_messages_are_not_sent_to_groq() -> None:
    made, ignored = sent("groq", messages=[USER | {"name": "ann"}])
    assert (made["messages"], ignored) == ([USER], ("messages[0].name",))


@pytest.mark.parametrize("kind", [*STRICT, "deepseek", "fireworks"])
def test_a_request_without_such_fields_is_sent_byte_for_byte(kind: str) -> None:
    raw = b'[ {"role":"user" , "content":"reasoning_content \\u0041 1e3", "role":"user"} ]'
    request = ModelRequest("chat/completions", "m", False, False, {"messages": msgspec.Raw(raw)})
    settings = {"api_base": "https://r.openai.azure.com"} if kind == "azure" else {}
    assert raw in encoded(kind, request, **settings).body


@pytest.mark.parametrize("kind", [*STRICT, "deepseek", "fireworks"])
@pytest.mark.parametrize(
    "messages",
    [7, "x", None, [7], [None], [[ANSWER]], [{"role": "user", "content": {"reasoning_content": 1}}]],
)
def test_messages_of_another_form_are_left_to_the_provider(kind: str, messages: Any) -> None:
    assert sent(kind, messages=messages, user="developer")[0]["messages"] == messages


def test_values_keep_their_bytes_and_many_messages_take_linear_time() -> None:
    raw = (
        b"["
        + b'{"role":"assistant","content":"\\u0041","n":1e400,"reasoning_content":"x"},' * 50_000
        + b"{}]"
    )
    request = ModelRequest("chat/completions", "m", False, False, {"messages": msgspec.Raw(raw)})
    begun = time.process_time()
    made = encoded("mistral", request)
    assert time.process_time() - begun < 3
    assert made.body.count(b'{"role":"assistant","content":"\\u0041","n":1e400}') == 50_000
    assert len(made.ignored_fields) == 50_000


def test_other_endpoints_are_left_alone() -> None:
    made = encoded("groq", model_request("responses", input=[ANSWER], verbosity="low"))
    assert body(made) == {"model": "m", "input": [ANSWER], "verbosity": "low"}
