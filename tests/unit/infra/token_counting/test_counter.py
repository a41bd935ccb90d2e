"""Tokens are counted as tiktoken counts them, from disk alone, and no text can hang the counting."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.infra.token_counting import counter as token_counter_module
from llm_gateway.infra.token_counting import vocabularies as vocabularies_module
from llm_gateway.infra.token_counting.counter import TiktokenCounter, slices
from llm_gateway.infra.token_counting.vocabularies import Vocabularies

pytest.importorskip("bpe_openai", reason="needs the vocabularies extra")

URL = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
TEXTS = [
    "",
    "Hello world",
    "tiktoken is great!",
    "Zażółć gęślą jaźń, 你好世界 👩‍👩‍👧‍👦",
    "def f(x):\n\treturn x ** 2  # comment\r\n\r\n    \n",
    "<|endoftext|> is but text here",
    "1234567890 " * 50,
]


def key(encoding: str) -> str:
    return hashlib.sha1(URL.format(encoding).encode(), usedforsecurity=False).hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the first test that needs a vocabulary unpacks it."""
    return tmp_path_factory.mktemp("vocabularies")


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[TiktokenCounter]:
    counter = TiktokenCounter(Vocabularies(folder))
    yield counter
    counter.close()


@pytest.fixture(autouse=True)
def _no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("something looks for the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
async def test_s4_7_counts_are_tiktokens_own(
    shared: TiktokenCounter, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = [await shared.count(name, [text]) for text in TEXTS]
    # What was unpacked has the name and the hash that tiktoken itself looks for.
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
    theirs = tiktoken.get_encoding(name)
    assert counts == [len(theirs.encode(text, disallowed_special=())) for text in TEXTS]
    assert counts[1] == 2
    assert await shared.count(name, TEXTS) == sum(count or 0 for count in counts)


async def test_harmony_shares_its_vocabulary(shared: TiktokenCounter) -> None:
    assert await shared.count("o200k_harmony", ["Hello world"]) == 2


@pytest.mark.parametrize(
    ("upstream", "public", "expected"),
    [
        ("gpt-4-0613", "anything", "cl100k_base"),
        ("gpt-4o-2024-08-06", "gpt-4", "o200k_base"),
        ("my-deployment", "gpt-3.5-turbo", "cl100k_base"),
        ("openai/gpt-4", "x", "cl100k_base"),
        ("gpt-oss-120b", "x", "o200k_harmony"),
        ("llama3", "llama3", "o200k_base"),
        ("", "", "o200k_base"),
    ],
)
def test_the_encoding_is_by_upstream_name_else_public_name(
    shared: TiktokenCounter, upstream: str, public: str, expected: str
) -> None:
    assert shared.encoding(upstream, public) == expected


async def test_without_a_vocabulary_there_is_no_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabularies_module, "_packed", lambda _name: None)
    counter = TiktokenCounter(Vocabularies(tmp_path))
    assert await counter.count("o200k_base", ["Hello"]) is None
    assert await counter.count("gpt2", ["Hello"]) is None
    assert await counter.count("nonsense", ["Hello"]) is None
    counter.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["a", " ", "\n", "^", "中", "1", "aA", "😀", "\u0301"])
@pytest.mark.timeout(60)
async def test_no_text_hangs_the_counting(shared: TiktokenCounter, text: str) -> None:
    """A million spaces overflow the stack of tiktoken's regular expressions; they are counted in slices."""
    million = text * (1_000_000 // len(text))
    assert await shared.count("o200k_base", [million]) is not None


async def test_a_panic_is_no_count(shared: TiktokenCounter, monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        pass

    class Broken:
        def encode_ordinary(self, _text: str) -> None:
            raise Panic

    monkeypatch.setitem(shared._encodings, "broken", Broken())
    assert await shared.count("broken", ["x"]) is None


async def test_what_is_too_much_is_not_counted(
    shared: TiktokenCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_counter_module, "_MAX_CHARACTERS", 100)
    assert await shared.count("o200k_base", ["x" * 60, "y" * 60]) is None
    monkeypatch.setattr(token_counter_module, "_MAX_WAITING", 50)
    assert await shared.count("o200k_base", ["x" * 60]) is None
    assert await shared.count("o200k_base", ["x" * 40]) is not None
    assert shared._waiting == 0


async def test_counting_leaves_the_loops_thread(shared: TiktokenCounter) -> None:
    await shared.count("o200k_base", ["x"])
    names = [thread.name for thread in threading.enumerate()]
    assert len([name for name in names if name.startswith("token-counter")]) >= 1


WORDS = st.lists(
    st.tuples(
        st.text(alphabet="abAB1.,!'é中/", min_size=1, max_size=12),
        st.sampled_from([" ", "  ", "\n", " \n ", " \t"]),
    ),
    max_size=60,
)


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
def test_cutting_between_words_changes_no_count(folder: Path, name: str) -> None:
    encoding = Vocabularies(folder).load(name)

    @given(WORDS)
    def check(words: list[tuple[str, str]]) -> None:
        text = "".join(word + gap for word, gap in words)
        parts = list(slices(text, 64))
        if all(len(part) < 64 for part in parts):
            # No cut was forced.
            whole = len(encoding.encode_ordinary(text))
            assert sum(len(encoding.encode_ordinary(part)) for part in parts) == whole

    check()


@given(st.text(max_size=400), st.integers(1, 50))
def test_slices_lose_nothing(text: str, size: int) -> None:
    parts = list(slices(text, size))
    assert "".join(parts) == text
    assert all(0 < len(part) <= size for part in parts) or text == ""
