"""Guesses which path a client meant that asked for one that does not exist, usually because of its base URL."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SLASHES = re.compile("/+")
# Longer paths are not guessed.
_LONGEST = 1000


class MeantPaths:
    """The paths of one table."""

    def __init__(self, root: str, paths: Sequence[str], prefixes: Sequence[str]) -> None:
        """`root` is the prefix of all, such as "/v1/"; something must follow `prefixes`."""
        self.root = root
        base = root.rstrip("/")
        # The longest first: "/chat/completions" before "/completions".
        self._by_ending = sorted(
            {path.removeprefix(base): path for path in paths}.items(), key=lambda item: -len(item[0])
        )
        self._by_middle = [(path.removeprefix(base), path) for path in prefixes]

    def find(self, path: str) -> str | None:
        """Return the path that was meant, None when it cannot be guessed."""
        if len(path) > _LONGEST:
            return None
        cleaned = _SLASHES.sub("/", path).strip().rstrip("/")
        for ending, known in self._by_ending:
            if cleaned.lower().endswith(ending):
                return known
        for middle, known in self._by_middle:
            _, found, name = cleaned.rpartition(middle)
            if found and name and known + name != path:
                return known + name
        return None
