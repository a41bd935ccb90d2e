"""What is wrong with a body is named, with what to do about it."""

from __future__ import annotations

import msgspec
import pytest

from llm_gateway.core.errors import BadRequest
from llm_gateway.surfaces.translating.bodies import read_body


class _Inner(msgspec.Struct, forbid_unknown_fields=True):
    name: str | None = None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    prompt: str
    max_tokens: int | None = None
    metadata: _Inner | None = None


DECODER = msgspec.json.Decoder(_Body)
FIELDS = ("prompt", "max_tokens", "metadata")


def test_a_body_is_read() -> None:
    assert read_body(b'{"prompt": "hi"}', DECODER, FIELDS).prompt == "hi"


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"", None, "not valid JSON"),
        (b"{", None, "not valid JSON"),
        (b"\xff", None, "not valid JSON"),
        (b'{"prompt": "\xff"}', None, "not valid JSON"),
        (b"[" * 5000, None, "must be"),
        (b"[]", None, "must be a JSON object"),
        (b"null", None, "must be a JSON object"),
        (b"{}", "prompt", "'prompt' is missing"),
        (b'{"prompt": 1}', "prompt", "'prompt' is wrong: expected str, got int"),
        (b'{"prompt": null}', "prompt", "expected str, got null"),
        (b'{"prompt": "x", "max_tokens": "5"}', "max_tokens", "'max_tokens' is wrong"),
        (b'{"prompt": "x", "max_tokens": 1e400}', None, ""),
        (b'{"prompt": "x", "temprature": 1}', "temprature", "Known fields: prompt, max_tokens, metadata"),
        (b'{"prompt": "x", "metadata": {"nme": 1}}', "metadata.nme", "'metadata.nme' is not known"),
        (b'{"prompt": "x", "metadata": {"name": 1}}', "metadata.name", "'metadata.name' is wrong"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, param: str | None, words: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_body(body, DECODER, FIELDS)
    assert words in refused.value.message
    if words:
        assert refused.value.param == param


def test_a_name_of_a_megabyte_is_cut() -> None:
    with pytest.raises(BadRequest) as refused:
        read_body(b'{"prompt": "x", "%b": 1}' % (b"y" * 1_000_000), DECODER, FIELDS)
    assert len(refused.value.message) < 1000
