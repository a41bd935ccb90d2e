"""No JSON that a client or a provider may send can make the counting of its tokens fail."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.endpoints import ENDPOINTS, EndpointName
from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.flow.accounting.token_estimates import count_stream, count_whole
from llm_gateway.providers.base import StreamSample
from llm_gateway.wire.openai_chat.usage import WireUsage, usage_from_wire
from tests.fakes.in_memory import WordCounter
from tests.fakes.openai_requests import model_request

NAMES = [
    *("role", "content", "type", "text", "refusal", "name", "tool_calls", "function", "custom", "arguments"),
    *(
        "input",
        "output",
        "image_url",
        "detail",
        "input_audio",
        "data",
        "format",
        "file",
        "file_data",
        "schema",
    ),
    *("json_schema", "delta", "message", "choices", "index", "item", "response", "tools", "action", "code"),
]
WORDS = st.sampled_from([*NAMES, "json_schema", "function", "low", "wav", "response.completed", "a b"])
LEAVES = st.none() | st.booleans() | st.integers(-5, 5) | st.just(0.5) | WORDS
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
)
FIELDS = (
    "messages",
    "tools",
    "functions",
    "response_format",
    "prompt",
    "suffix",
    "input",
    "instructions",
    "text",
)
COUNTS = st.none() | st.integers(-3, 30) | st.sampled_from([0, 0.5, 7.0, "7", True, [], {}, 10**18])


@pytest.mark.parametrize("endpoint", list(ENDPOINTS))
@given(st.data())
async def test_counting_never_fails(endpoint: EndpointName, data: st.DataObject) -> None:
    fields: dict[str, Any] = data.draw(st.dictionaries(st.sampled_from(FIELDS), JSON))
    reply = msgspec.json.encode(data.draw(JSON))
    request = model_request(endpoint, **fields)
    block = b"data: " + reply + b"\n\n"
    sample = StreamSample((block,), len(block), len(block))
    for found in (
        await count_whole(WordCounter(), request, "m", reply),
        await count_stream(WordCounter(), request, "m", sample),
    ):
        assert min(found.prompt_tokens, found.completion_tokens) >= 0
        assert found.total_tokens == found.prompt_tokens + found.completion_tokens


@given(
    prompt=COUNTS,
    completion=COUNTS,
    total=COUNTS,
    cached=COUNTS,
    reasoning=COUNTS,
    written=COUNTS,
    audio=COUNTS,
)
async def test_a_usage_is_consistent_whatever_was_stated(
    prompt: Any, completion: Any, total: Any, cached: Any, reasoning: Any, written: Any, audio: Any
) -> None:
    wire = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "prompt_tokens_details": {
            "cached_tokens": cached,
            "cache_write_tokens": written,
            "audio_tokens": audio,
        },
        "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": audio},
    }
    stated = usage_from_wire(msgspec.json.decode(msgspec.json.encode(wire), type=WireUsage))
    request = model_request(messages=[{"role": "user", "content": "one two"}])
    said = b'{"choices":[{"index":0,"message":{"content":"three four"}}]}'
    found = stated
    if not isinstance(found, Usage):
        assert found is None or isinstance(found, StatedUsage)
        found = await count_whole(WordCounter(), request, "m", said, found)
    counts = [value for name, value in msgspec.structs.asdict(found).items() if name.endswith("_tokens")]
    assert len(counts) == 6
    quantities = found.details.quantities if found.details is not None else {}
    assert all(type(count) is int for count in (*counts, *quantities.values()))
    assert quantities.keys() <= {"input_audio_tokens", "output_audio_tokens"}
    assert found.prompt_tokens >= quantities.get("input_audio_tokens", 0)
    assert found.completion_tokens >= quantities.get("output_audio_tokens", 0)
    assert found.cached_tokens + found.cache_write_tokens <= found.prompt_tokens
    assert 0 < found.prompt_tokens >= found.cached_tokens >= 0
    assert 0 < found.completion_tokens >= found.reasoning_tokens >= 0
    assert found.total_tokens >= found.prompt_tokens + found.completion_tokens
