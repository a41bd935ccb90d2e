"""What presets and Azure do otherwise than OpenAI, and what error bodies of the whole family are about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_gateway.core.config.providers import ClientCredentials, Provider
from llm_gateway.core.config.snapshot import EnabledProvider
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.errors import BadRequest
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.secret import Secret
from llm_gateway.providers.base import UpstreamErrorBody, UpstreamRequest
from llm_gateway.providers.openai.presets import OPENAI, PRESETS
from llm_gateway.providers.registry import ADAPTERS

WIRE = Path(__file__).parents[1] / "wire"
RESOURCE = "https://res.openai.azure.com"
ENTRA = ClientCredentials(
    token_url="https://login.microsoftonline.com/t/oauth2/v2.0/token",
    client_id="c",
    scope="https://cognitiveservices.azure.com/.default",
)


def asked(endpoint: EndpointName = "chat/completions", **fields: Any) -> ModelRequest:
    return ModelRequest(
        endpoint=endpoint,
        model="public",
        stream=bool(fields.get("stream")),
        wants_usage="stream_options" in fields,
        fields={name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()},
    )


def serving(kind: str, **more: Any) -> EnabledProvider:
    adapter = ADAPTERS[kind]
    base = more.pop("api_base", adapter.kind.default_api_base)
    values: dict[str, Any] = {"id": 1, "provider_key": "p", "provider_type": kind, "api_base": base, **more}
    return EnabledProvider(Provider(**values), adapter.kind)


def encoded(kind: str, request: ModelRequest, model: str = "m", **more: Any) -> UpstreamRequest:
    return ADAPTERS[kind].encode(request, serving(kind, **more).deployment(model), {})


def body(sent: UpstreamRequest) -> Any:
    return msgspec.json.decode(sent.body)


# --- presets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.kind.name)
def test_a_preset_goes_to_its_documented_address(preset: Any) -> None:
    sent = encoded(preset.kind.name, asked())
    assert sent.url == f"{preset.kind.default_api_base}/chat/completions"
    listed = preset.models_request(serving(preset.kind.name, secret=Secret("sk-1")))
    assert listed.url == f"{preset.kind.default_api_base}/models"
    assert listed.headers["authorization"] == "Bearer sk-1"


def test_s2_2_local_servers_are_at_hand_without_a_key() -> None:
    bases = {
        kind: ADAPTERS[kind].kind.default_api_base for kind in ("ollama", "vllm", "llamacpp", "lmstudio")
    }
    assert bases == {
        "ollama": "http://localhost:11434/v1",
        "vllm": "http://localhost:8000/v1",
        "llamacpp": "http://localhost:8080/v1",
        "lmstudio": "http://localhost:1234/v1",
    }
    assert "authorization" not in encoded("ollama", asked()).headers


@pytest.mark.parametrize("kind", ["mistral", "deepseek", "ollama", "llamacpp", "together"])
def test_the_limit_is_said_by_the_name_that_the_server_knows(kind: str) -> None:
    assert body(encoded(kind, asked(max_completion_tokens=7))) == {"model": "m", "max_tokens": 7}
    both = body(encoded(kind, asked(max_tokens=9, max_completion_tokens=7)))
    assert both["max_tokens"] == 7
    assert "max_completion_tokens" not in body(encoded(kind, asked(max_completion_tokens=None)))
    assert body(encoded(kind, asked(max_completion_tokens=None, max_tokens=5)))["max_tokens"] == 5


@pytest.mark.parametrize("kind", ["openai", "vllm", "groq", "xai", "openrouter", "azure"])
def test_the_limit_keeps_its_name_where_both_are_known(kind: str) -> None:
    sent = encoded(kind, asked(max_completion_tokens=7), api_base="https://x.test/v1")
    assert body(sent)["max_completion_tokens"] == 7


def test_stream_options_never_reach_a_server_that_refuses_them() -> None:
    unasked = encoded("mistral", asked(stream=True))
    assert (body(unasked), unasked.ignored_fields) == ({"stream": True, "model": "m"}, ())
    wanted = encoded("mistral", asked(stream=True, stream_options={"include_usage": True}))
    assert (body(wanted), wanted.ignored_fields) == ({"stream": True, "model": "m"}, ("stream_options",))
    nothing = encoded("mistral", asked(stream=True, stream_options=None))
    assert (body(nothing), nothing.ignored_fields) == ({"stream": True, "model": "m"}, ())


def test_a_provider_may_say_otherwise_of_stream_options() -> None:
    sent = encoded("mistral", asked(stream=True), stream_usage=True)
    assert body(sent)["stream_options"] == {"include_usage": True}
    refused = encoded("openai", asked(stream=True), stream_usage=False)
    assert "stream_options" not in body(refused)


@pytest.mark.parametrize("endpoint", ["embeddings", "responses"])
def test_stream_options_are_added_where_the_endpoint_has_them(endpoint: EndpointName) -> None:
    assert "stream_options" not in body(encoded("openai", asked(endpoint, stream=True)))


def test_openai_serves_all_endpoints() -> None:
    assert set(OPENAI.endpoints) == {"chat/completions", "completions", "embeddings", "responses"}


@pytest.mark.parametrize(
    ("path", "count"),
    [(path, int(path.name.split(".")[1])) for path in sorted(WIRE.glob("*/models.*.json"))],
    ids=lambda value: value.parent.name if isinstance(value, Path) else "",
)
def test_lists_of_models_of_every_shape_are_read(path: Path, count: int) -> None:
    adapter = ADAPTERS.get(path.parent.name)
    assert adapter is not None
    names = adapter.decode_models(path.read_bytes())
    assert len(names) == count
    assert all(names)


# --- Azure -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "api_base",
    [
        RESOURCE,
        f"{RESOURCE}/",
        f"{RESOURCE}/openai",
        f"{RESOURCE}/openai/v1",
        f"{RESOURCE}/openai/v1/",
        f"{RESOURCE}/openai/deployments/other",
    ],
)
def test_azure_without_a_version_is_asked_at_its_v1(api_base: str) -> None:
    sent = encoded("azure", asked(), "my-gpt", api_base=api_base, secret=Secret("key"))
    assert sent.url == f"{RESOURCE}/openai/v1/chat/completions"
    assert body(sent)["model"] == "my-gpt"
    assert sent.headers["api-key"] == "key"
    assert "authorization" not in sent.headers


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions", "embeddings"])
def test_azure_with_a_version_is_asked_by_deployment(endpoint: EndpointName) -> None:
    provider = {"api_base": RESOURCE, "api_version": "2024-10-21"}
    sent = encoded("azure", asked(endpoint), "my gpt/4", **provider)
    assert sent.url == f"{RESOURCE}/openai/deployments/my%20gpt%2F4/{endpoint}?api-version=2024-10-21"
    responses = encoded("azure", asked("responses"), "my gpt/4", **provider)
    assert responses.url == f"{RESOURCE}/openai/responses?api-version=2024-10-21"


@pytest.mark.parametrize("model", [".", ".."])
def test_a_model_leads_nowhere_else_at_azure(model: str) -> None:
    with pytest.raises(BadRequest) as raised:
        encoded("azure", asked(), model, api_base=RESOURCE, api_version="2024-10-21")
    assert raised.value.param == "model"


def test_azures_v1_is_never_sent_a_version_which_it_refuses() -> None:
    provider = {"api_base": f"{RESOURCE}/openai/v1", "api_version": "preview"}
    assert encoded("azure", asked(), **provider).url == f"{RESOURCE}/openai/v1/chat/completions"
    assert (
        ADAPTERS["azure"].models_request(serving("azure", **provider)).url == f"{RESOURCE}/openai/v1/models"
    )


def test_azure_behind_a_path_of_somebodys_own() -> None:
    base = "https://apim.example/team"
    assert encoded("azure", asked(), api_base=base).url == f"{base}/openai/v1/chat/completions"
    base = "https://apim.example/openai-proxy"
    assert encoded("azure", asked(), api_base=base).url == f"{base}/openai/v1/chat/completions"


def test_azures_models_are_asked_for_by_version() -> None:
    adapter = ADAPTERS["azure"]
    plain = adapter.models_request(serving("azure", api_base=RESOURCE, secret=Secret("key")))
    assert (plain.url, plain.headers["api-key"]) == (f"{RESOURCE}/openai/v1/models", "key")
    dated = adapter.models_request(serving("azure", api_base=RESOURCE, api_version="2024-10-21"))
    assert dated.url == f"{RESOURCE}/openai/models?api-version=2024-10-21"


def test_entra_ids_token_is_a_bearers() -> None:
    sent = encoded("azure", asked(), api_base=RESOURCE, secret=Secret("token"), oauth2=ENTRA)
    assert sent.headers["authorization"] == "Bearer token"
    assert "api-key" not in sent.headers
    listed = ADAPTERS["azure"].models_request(
        serving("azure", api_base=RESOURCE, secret=Secret("token"), oauth2=ENTRA)
    )
    assert listed.headers["authorization"] == "Bearer token"


def test_azures_first_chunk_is_no_content() -> None:
    events = (WIRE / "azure/prompt-filter-first.sse").read_bytes().split(b"\n\n")
    reader = ADAPTERS["azure"].stream(asked(stream=True), event_limit=1 << 20)
    seen = []
    for event in events[:-1]:
        reader.feed(event + b"\n\n")
        seen.append(reader.content_seen)
    assert seen == [False, False, True, True, True, True, True]
    assert reader.usage is not None
    assert reader.usage.total_tokens == 29


# --- what streams of presets say ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recording", "tokens", "cached", "reasoning"),
    [
        ("mistral/usage-on-the-last-chunk", (16, 34), 0, 0),
        ("deepseek/keep-alive-and-reasoning", (17, 9), 16, 5),
        ("groq/own-usage-field", (18, 4), 0, 0),
        ("ollama/reasoning", (11, 5), 0, 0),
        ("openrouter/processing-comments", (9, 2), 0, 0),
    ],
)
def test_usage_is_found_where_each_provider_puts_it(
    recording: str, tokens: tuple[int, int], cached: int, reasoning: int
) -> None:
    kind = recording.split("/", maxsplit=1)[0]
    reader = ADAPTERS[kind].stream(asked(stream=True), event_limit=1 << 20)
    reader.feed((WIRE / f"{recording}.sse").read_bytes())
    usage = reader.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == tokens
    assert (usage.cached_tokens, usage.reasoning_tokens) == (cached, reasoning)
    assert reader.finished


# --- error bodies ------------------------------------------------------------------------------------

ERRORS = [
    pytest.param(path, id=f"{path.parent.name}-{path.stem}")
    for preset in (*PRESETS, ADAPTERS["openai"], ADAPTERS["azure"])
    for path in sorted((WIRE / preset.kind.name).glob("error.*.json"))
]


@pytest.mark.parametrize("path", ERRORS)
def test_an_error_body_says_what_it_is_about(path: Path) -> None:
    refusal = ADAPTERS[path.parent.name].decode_error(path.read_bytes())
    about = path.name.split(".")[1]
    assert refusal.about == (None if about == "none" else about)
    assert refusal.message


def test_the_recordings_cover_both_and_neither() -> None:
    seen = {path.values[0].name.split(".")[1] for path in ERRORS}  # type: ignore[union-attr]
    assert seen == {"context_length", "content_policy", "none"}


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 3, "completion_tokens": 0}])
def test_an_error_under_a_2xx_is_no_reply(usage: Any) -> None:
    told = {
        "id": "gen-1",
        "choices": [],
        "usage": usage,
        "error": {"code": 502, "message": "Provider disconnected."},
    }
    openrouter = ADAPTERS["openrouter"]
    refusal = UpstreamErrorBody(message="Provider disconnected.", code="502")
    assert openrouter.decode(msgspec.json.encode(told), asked()).refusal == refusal
    reader = openrouter.stream(asked(stream=True), event_limit=1 << 20)
    assert reader.whole(msgspec.json.encode(told)) == b""
    assert (reader.refusal, reader.done) == (refusal, False)


@pytest.mark.parametrize("error", [None, {}, ""])
def test_a_place_for_an_error_is_no_error(error: Any) -> None:
    told = msgspec.json.encode({"data": [], "error": error})
    assert ADAPTERS["openai"].decode(told, asked("embeddings")).refusal is None


def test_json_in_place_of_a_stream_is_a_chunk_and_usage_for_who_asked() -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    told = msgspec.json.encode({"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage})
    wants_usage = {"stream_options": {"include_usage": True}}
    cases: list[tuple[dict[str, Any], int]] = [({}, 1), (wants_usage, 2)]
    for more, events_in_all in cases:
        reader = ADAPTERS["openai"].stream(asked(stream=True, **more), event_limit=1 << 20)
        events = reader.whole(told)
        assert events.count(b"\n\n") == events_in_all
        assert b'"delta":{"role":"assistant","content":"Hi"}' in events
        assert b'"object":"chat.completion.chunk"' in events
        assert reader.usage is not None
        assert reader.usage.total_tokens == 4
        assert reader.done


def test_validation_errors_are_put_into_words() -> None:
    read = ADAPTERS["mistral"].decode_error
    nested = read((WIRE / "mistral/error.none.extra-field.json").read_bytes())
    assert nested.message == "body.max_completion_tokens: Extra inputs are not permitted"
    assert nested.type == "invalid_request_error"
    bare = read((WIRE / "mistral/error.none.extra-field-bare.json").read_bytes())
    assert bare.message == "body.store: Extra inputs are not permitted"


def test_a_code_beside_the_text_is_kept() -> None:
    refusal = ADAPTERS["xai"].decode_error((WIRE / "xai/error.context_length.json").read_bytes())
    assert refusal.code == "Client specified an invalid argument"
