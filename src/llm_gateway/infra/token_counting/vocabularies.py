"""Loads tiktoken's vocabularies from this machine's disk; neither this code nor any that it calls opens a socket."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loguru import logger

if TYPE_CHECKING:
    import tiktoken

# The optional package that carries vocabularies, gzipped; it is never imported, its files are read.
_PACKAGE = "bpe_openai"
_DEFINITIONS = "tiktoken_ext.openai_public"


class VocabularyMissing(Exception):
    """The vocabulary is not on this machine; the message says what to do."""


class Vocabularies:
    """Builds tiktoken's encodings from files: the user's cache, then `data_dir`, then the optional package.

    A file is used only if it has the hash that tiktoken expects. The package's files are unpacked into `data_dir`
    at first use, atomically.
    """

    def __init__(self, data_dir: Path, cache_dir: Path | None = None) -> None:
        """Look in `cache_dir` (`TIKTOKEN_CACHE_DIR`) first; unpack into `data_dir`, which is created if needed."""
        self._data_dir = data_dir
        self._folders = [data_dir] if cache_dir is None else [cache_dir, data_dir]

    def load(self, encoding: str) -> tiktoken.Encoding:
        """Build an encoding: about a second and 70 MB. Raises VocabularyMissing."""
        import tiktoken  # noqa: PLC0415 - few gateways ever count

        construct = _definitions(self._ranks).ENCODING_CONSTRUCTORS.get(encoding)
        if construct is None:
            raise VocabularyMissing(f"tiktoken knows no encoding {encoding!r}")
        return tiktoken.Encoding(**construct())

    def _ranks(self, url: str, expected_hash: str) -> dict[bytes, int]:
        """Replace tiktoken's loader, which would fetch the URL."""
        key = hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
        for data in self._candidates(url, key):
            if hashlib.sha256(data).hexdigest() == expected_hash:
                pairs = (line.split() for line in data.splitlines())
                return {base64.b64decode(token): int(rank) for token, rank in pairs}
        raise VocabularyMissing(
            f"{url.rpartition('/')[2]} is not on this machine: install llm-gateway[vocabularies], "
            f"or put the file into TIKTOKEN_CACHE_DIR as {key}"
        )

    def _candidates(self, url: str, key: str) -> Iterator[bytes]:
        for folder in self._folders:
            try:
                yield (folder / key).read_bytes()
            except OSError:
                continue
        packed = _packed(url.rpartition("/")[2])
        if packed is None:
            return
        try:
            data = gzip.decompress(packed.read_bytes())
        except (OSError, EOFError):
            return
        self._store(key, data)
        yield data

    def _store(self, key: str, data: bytes) -> None:
        unfinished = self._data_dir / f"{key}.{os.getpid()}.tmp"
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished.write_bytes(data)
            unfinished.replace(self._data_dir / key)
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink()
            logger.warning("Cannot store a vocabulary in {}: {}", self._data_dir, error.strerror)


def _packed(name: str) -> Path | None:
    spec = util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / "data" / f"{name}.gz"
        if path.is_file():
            return path
    return None


def _definitions(load_ranks: Callable[[str, str], dict[bytes, int]]) -> Any:  # noqa: ANN401 - a module
    """Return a private copy of tiktoken's definitions whose loaders are replaced."""
    spec = util.find_spec(_DEFINITIONS)
    if spec is None or spec.loader is None:
        raise VocabularyMissing("this tiktoken has no module of public encodings")
    module = types.ModuleType(spec.name)
    spec.loader.exec_module(module)

    def load_tiktoken_bpe(url: str, expected_hash: str) -> dict[bytes, int]:
        return load_ranks(url, expected_hash)

    def refuse(*_: object, **__: object) -> None:
        raise VocabularyMissing("GPT-2's vocabulary is read in another format, which is not supported")

    module.__dict__.update(load_tiktoken_bpe=load_tiktoken_bpe, data_gym_to_mergeable_bpe_ranks=refuse)
    return module
