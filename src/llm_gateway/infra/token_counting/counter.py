"""Counts tokens with tiktoken, off the event loop, from vocabularies on disk and never from the network."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from loguru import logger

from llm_gateway.infra.token_counting.vocabularies import Vocabularies, VocabularyMissing

if TYPE_CHECKING:
    import tiktoken

DEFAULT_ENCODING = "o200k_base"
# tiktoken is worse than linear on long runs of one sort of character, and panics (its regular expressions'
# stack overflows) on a million spaces: it gets slices of at most so many characters.
_SLICE = 8192
# Spaces that are looked at for a good place to cut, from the slice's end backwards.
_TRIES = 64
# About a million tokens, and some seconds of work; longer texts are better estimated.
_MAX_CHARACTERS = 4 * 1024 * 1024
# Characters that may wait for the one thread; beyond them estimates do.
_MAX_WAITING = 16 * 1024 * 1024


class TiktokenCounter:
    """Implements the `TokenCounter` port.

    Encodings are loaded when first asked for and kept. Counts are tiktoken's own as long as a text has a
    single space between words now and then; where it has none for 8,192 characters it is cut anyway, which
    may add a token or two at the cut.
    """

    def __init__(self, vocabularies: Vocabularies) -> None:
        """Count with what `vocabularies` finds."""
        self._vocabularies = vocabularies
        # None: looked for, and not to be had.
        self._encodings: dict[str, tiktoken.Encoding | None] = {}
        self._thread: ThreadPoolExecutor | None = None
        self._waiting = 0

    def encoding(self, upstream_model: str, public_model: str) -> str:
        """Return the name of the encoding to count a model with: by either name, else `o200k_base`."""
        from tiktoken.model import encoding_name_for_model  # noqa: PLC0415 - few gateways ever count

        for name in (upstream_model, public_model):
            # Resellers put the maker in front: openai/gpt-4.
            for candidate in (name, name.rpartition("/")[2]):
                try:
                    return encoding_name_for_model(candidate)
                except KeyError:
                    continue
        return DEFAULT_ENCODING

    async def count(self, encoding: str, texts: Sequence[str]) -> int | None:
        """Return the tokens of all `texts`; None without a vocabulary, over 4 Mi characters, or when overrun."""
        size = sum(map(len, texts))
        if size > _MAX_CHARACTERS or self._waiting + size > _MAX_WAITING:
            return None
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="token-counter")
        self._waiting += size
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, self._count, encoding, tuple(texts)
            )
        finally:
            self._waiting -= size

    def close(self) -> None:
        """Let the thread go, when it has done what it is at."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = None

    def _count(self, name: str, texts: Sequence[str]) -> int | None:
        if name not in self._encodings:
            self._encodings[name] = self._load(name)
        encoding = self._encodings[name]
        if encoding is None:
            return None
        try:
            return sum(len(encoding.encode_ordinary(part)) for text in texts for part in slices(text))
        except BaseException as error:  # noqa: BLE001 - tiktoken's panics are no Exceptions
            logger.warning("Cannot count tokens with {}: {}", name, type(error).__name__)
            return None

    def _load(self, name: str) -> tiktoken.Encoding | None:
        try:
            return self._vocabularies.load(name)
        except VocabularyMissing as missing:
            logger.warning("Tokens of {} models are estimated from length: {}.", name, missing)
        except Exception:  # noqa: BLE001 - a broken file must not break a request
            logger.exception("Cannot load the encoding {}: tokens are estimated from length.", name)
        return None


def slices(text: str, size: int = _SLICE) -> Iterator[str]:
    """Cut a text into parts of at most `size` characters, before a space that follows a word if there is one.

    tiktoken's patterns never join a word to the space after it, so that such a cut changes no count.
    """
    start = 0
    while len(text) - start > size:
        end = start + size
        cut = end
        for _ in range(_TRIES):
            cut = text.rfind(" ", start + 1, cut)
            if cut < 0 or not text[cut - 1].isspace():
                break
        else:
            cut = -1
        if cut < 0:
            cut = end
        yield text[start:cut]
        start = cut
    yield text[start:]
