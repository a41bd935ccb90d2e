"""Finds a model by any of the names that providers and clients use for it, as the source of the prices does.

A clause is a string, which equals a name, or an object with one of the keys `starts_with`, `ends_with`, `contains`,
`regex` (a string each), `or`, `and` (a list of clauses each). Names and all clauses but `regex` ignore case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date
from typing import Final

NameMatcher = Callable[[str], bool]
# Longer names match nothing.
LONGEST_NAME: Final = 256
LONGEST_PATTERN: Final = 200

# What makes a pattern slow: several unbounded repetitions, repeated groups, many choices, and references back.
_MOST_CHOICES: Final = 12
_UNBOUNDED: Final = re.compile(r"(?<!\\)[*+]|\{\d*,\}")
_REPEATED_GROUP: Final = re.compile(r"\)[*+{]")
_CHOICE: Final = re.compile(r"(?<!\\)[|*+]|(?<![\\(])\?|\{\d*,\d*\}")
_BACK_REFERENCE: Final = re.compile(r"\\[1-9]|\(\?P=")
_COMPACT_DATE: Final = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


def compile_clause(clause: object) -> NameMatcher:
    """Return a function that tells whether a name, in lower case, matches `clause`.

    ValueError if it is not a clause, or has a pattern that could take long.
    """
    if isinstance(clause, dict) and len(clause) != 1:
        raise ValueError(f"{clause!r} is not a clause that names are matched with")
    match clause:
        case str():
            return clause.lower().__eq__
        case {"starts_with": str(text)}:
            prefix = text.lower()
            return lambda name: name.startswith(prefix)
        case {"ends_with": str(text)}:
            suffix = text.lower()
            return lambda name: name.endswith(suffix)
        case {"contains": str(text)}:
            part = text.lower()
            return lambda name: part in name
        case {"regex": str(pattern)}:
            search = _bounded(pattern).search
            return lambda name: search(name) is not None
        case {"or": list(clauses)}:
            matchers = tuple(map(compile_clause, clauses))
            return lambda name: any(matches(name) for matches in matchers)
        case {"and": list(clauses)}:
            matchers = tuple(map(compile_clause, clauses))
            return lambda name: all(matches(name) for matches in matchers)
    raise ValueError(f"{clause!r} is not a clause that names are matched with")


def _bounded(pattern: str) -> re.Pattern[str]:
    """Compile a pattern that takes milliseconds on any name of LONGEST_NAME characters."""
    if len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"the pattern {pattern[:40]!r}... is longer than {LONGEST_PATTERN} characters")
    if (
        len(_UNBOUNDED.findall(pattern)) > 1
        or len(_CHOICE.findall(pattern)) > _MOST_CHOICES
        or _REPEATED_GROUP.search(pattern)
        or _BACK_REFERENCE.search(pattern)
    ):
        raise ValueError(f"the pattern {pattern!r} could take long")
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"the pattern {pattern!r} is not valid: {error}") from error


class ModelIndex:
    """The models of one provider, by the clauses that match their names; the first match wins."""

    __slots__ = ("_equal", "_patterns")

    def __init__(self, clauses: Iterable[object]) -> None:
        """Index models by their clauses, in their order; ValueError if one is not valid."""
        self._equal: dict[str, int] = {}
        self._patterns: list[tuple[int, NameMatcher]] = []
        for position, clause in enumerate(clauses):
            alternatives = clause["or"] if isinstance(clause, dict) and list(clause) == ["or"] else [clause]
            for alternative in alternatives:
                if isinstance(alternative, str):
                    self._equal.setdefault(alternative.lower(), position)
                else:
                    self._patterns.append((position, compile_clause(alternative)))

    def find(self, name: str) -> int | None:
        """Return the position of the first model that matches `name`, which is in lower case; None if none does."""
        equal = self._equal.get(name)
        for position, matches in self._patterns:
            if equal is not None and position > equal:
                break
            if matches(name):
                return position
        return equal


def with_dashed_dates(name: str) -> str:
    """Write compact dates with dashes: some gateways say `gpt-5.2-20251211` for `gpt-5.2-2025-12-11`."""
    return _COMPACT_DATE.sub(_dashed, name)


def _dashed(found: re.Match[str]) -> str:
    year, month, day = (int(part) for part in found.groups())
    try:
        return f"-{date(year, month, day).isoformat()}"
    except ValueError:
        return found.group()
