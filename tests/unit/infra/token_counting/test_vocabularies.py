"""Vocabularies come from files of this machine alone, and only with the hash that tiktoken expects."""

from __future__ import annotations

import hashlib
import importlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from llm_gateway.infra.token_counting import vocabularies as vocabularies_module
from llm_gateway.infra.token_counting.vocabularies import Vocabularies, VocabularyMissing

pytest.importorskip("bpe_openai", reason="needs the vocabularies extra")

NAME = "cl100k_base"
KEY = hashlib.sha1(
    f"https://openaipublic.blob.core.windows.net/encodings/{NAME}.tiktoken".encode(), usedforsecurity=False
).hexdigest()


@pytest.fixture(autouse=True)
def _no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("something looks for the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabularies_module, "_PACKAGE", "no_such_package_of_vocabularies")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the package's vocabulary was unpacked into."""
    folder = tmp_path_factory.mktemp("unpacked") / "vocabularies"
    Vocabularies(folder).load(NAME)
    return folder


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logger.add(lambda message: lines.append(message.record["message"]), level="WARNING")
    yield lines
    logger.remove(handler)


def test_the_package_is_unpacked_once_under_tiktokens_own_name(unpacked: Path) -> None:
    [file] = unpacked.iterdir()
    assert file.name == KEY
    assert file.stat().st_size > 1_000_000
    assert unpacked.stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("no_package")
def test_a_missing_vocabulary_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        VocabularyMissing,
        match=rf"{NAME}\.tiktoken.*llm-gateway\[vocabularies\].*TIKTOKEN_CACHE_DIR as {KEY}",
    ):
        Vocabularies(tmp_path).load(NAME)
    assert list(tmp_path.iterdir()) == []


def test_an_encoding_that_tiktoken_does_not_know_is_missing(tmp_path: Path) -> None:
    with pytest.raises(VocabularyMissing, match="knows no encoding 'nonsense'"):
        Vocabularies(tmp_path).load("nonsense")


def test_gpt_2_is_in_a_format_that_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(VocabularyMissing, match="GPT-2"):
        Vocabularies(tmp_path).load("gpt2")


@pytest.mark.usefixtures("no_package")
@pytest.mark.parametrize("as_cache", [True, False])
def test_a_vocabulary_is_found_in_either_folder(unpacked: Path, tmp_path: Path, as_cache: bool) -> None:
    missing = tmp_path / "missing"
    vocabularies = Vocabularies(missing, unpacked) if as_cache else Vocabularies(unpacked, missing)
    assert len(vocabularies.load(NAME).encode_ordinary("Hello world")) == 2
    # What is found is not copied.
    assert not missing.exists()


def test_a_file_with_another_hash_is_ignored_and_replaced(tmp_path: Path) -> None:
    cache, data = tmp_path / "cache", tmp_path / "data"
    for folder in (cache, data):
        folder.mkdir()
        (folder / KEY).write_bytes(b"IQ== 0\n")
    assert len(Vocabularies(data, cache).load(NAME).encode_ordinary("Hello world")) == 2
    # The user's own folder is left alone.
    assert (cache / KEY).read_bytes() == b"IQ== 0\n"
    assert (data / KEY).stat().st_size > 1_000_000
    assert [path.name for path in data.iterdir()] == [KEY]


@pytest.mark.parametrize("content", [b"not gzip", b"\x1f\x8b\x08\x00"])
def test_a_broken_file_of_the_package_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    broken = tmp_path / "broken.gz"
    broken.write_bytes(content)
    monkeypatch.setattr(vocabularies_module, "_packed", lambda _name: broken)
    with pytest.raises(VocabularyMissing):
        Vocabularies(tmp_path / "data").load(NAME)
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_written_only_costs_a_warning(tmp_path: Path, log: list[str]) -> None:
    (tmp_path / "file").touch()
    data = tmp_path / "file" / "vocabularies"
    assert len(Vocabularies(data).load(NAME).encode_ordinary("Hello world")) == 2
    assert len(log) == 1
    assert str(data) in log[0]


def test_an_unpacked_file_that_cannot_be_renamed_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    def fail(_self: Path, _target: Path) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "replace", fail)
    Vocabularies(tmp_path).load(NAME)
    assert list(tmp_path.iterdir()) == []
    assert "No space left" in log[0]


def test_tiktokens_own_loader_is_not_replaced(unpacked: Path) -> None:
    """The loaders are replaced in a copy of its definitions, which other users of tiktoken do not see."""
    import tiktoken.load

    public = importlib.import_module("tiktoken_ext.openai_public")

    Vocabularies(unpacked).load(NAME)
    assert public.load_tiktoken_bpe is tiktoken.load.load_tiktoken_bpe
