"""Model-name globs (`*`, `?`, `[a-z]`), case-sensitive, as `allowed_models` and `model_mapping` use them."""

from __future__ import annotations

import fnmatch
import re

_GLOB_CHARACTERS = frozenset("*?[")


def is_glob(name: str) -> bool:
    """Tell whether `name` is a pattern rather than one model's name."""
    return not _GLOB_CHARACTERS.isdisjoint(name)


class ModelPatterns:
    """Answers "is this model among these?" for a mix of names and globs."""

    __slots__ = ("_names", "_pattern", "everything", "is_empty")

    def __init__(self, entries: tuple[str, ...] | None) -> None:
        """Compile `entries`; None matches every name, an empty tuple none."""
        self.everything = entries is None or "*" in entries
        self.is_empty = entries is not None and not entries
        entries = entries or ()
        self._names = frozenset(entry for entry in entries if not is_glob(entry))
        globs = [fnmatch.translate(entry) for entry in entries if is_glob(entry)]
        self._pattern = re.compile("|".join(globs)) if globs else None

    def __contains__(self, model: str) -> bool:
        """Tell whether `model` is allowed."""
        if self.everything or model in self._names:
            return True
        return self._pattern is not None and self._pattern.match(model) is not None
