"""The units that models are billed by, and how they contain one another: cached input tokens are input tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Final

import msgspec

# Billed once a request, whatever the reply says.
REQUESTS: Final = "requests"
# Replies mention tools only when they were used: a reply without these units used none.
_OPTIONAL_FAMILIES: Final = frozenset({"tool_calls", "requests"})


class Unit(msgspec.Struct, frozen=True):
    """One thing that is counted and priced, such as `cache_read_tokens`.

    Prices are in USD per `per` of it. Its `dimensions` (`family`, `direction`, `modality`, `token_type`, ...) say
    what it contains: each unit that has all of its dimensions and more.
    """

    name: str
    per: int
    dimensions: Mapping[str, str]

    @property
    def is_optional(self) -> bool:
        """Whether a reply that does not mention this unit used none of it."""
        return self.dimensions.get("family") in _OPTIONAL_FAMILIES

    @property
    def is_audio_tokens(self) -> bool:
        return self.dimensions.get("modality") == "audio" and self.dimensions.get("family") == "tokens"

    def excludes(self, other: Unit) -> bool:
        """Tell whether nothing can be counted by both units."""
        mine, others = self.dimensions, other.dimensions
        return any(others.get(key, value) != value for key, value in mine.items())


class UnitSet:
    """All units by name, with the relations between them."""

    __slots__ = ("_by_dimensions", "_by_name", "containers", "intersections", "parts")

    def __init__(self, units: Mapping[str, Unit]) -> None:
        """Index `units`, whose keys are their names.

        For each name, `containers` has the units that contain it, `parts` those that it contains, and `intersections`
        the pairs of units that it is the intersection of, as `cache_audio_read_tokens` is of `cache_read_tokens` and
        `input_audio_tokens`.
        """
        self._by_name = dict(units)
        self._by_dimensions = {frozenset(unit.dimensions.items()): unit for unit in units.values()}
        self.containers: dict[str, frozenset[str]] = {}
        self.parts: dict[str, frozenset[str]] = {}
        self.intersections: dict[str, tuple[tuple[str, str], ...]] = {}
        # Sets are compared here, not units: there are thousands of pairs.
        all_dimensions = {name: frozenset(unit.dimensions.items()) for name, unit in units.items()}
        for name, dimensions in all_dimensions.items():
            containers = [
                other for other, theirs in all_dimensions.items() if theirs <= dimensions and other != name
            ]
            self.containers[name] = frozenset(containers)
            self.parts[name] = frozenset(
                other for other, theirs in all_dimensions.items() if dimensions <= theirs and other != name
            )
            self.intersections[name] = tuple(
                (first, second)
                for first, second in combinations(containers, 2)
                if (one := all_dimensions[first]) | (two := all_dimensions[second]) == dimensions
                and not one <= two
                and not two <= one
            )

    def __getitem__(self, name: str) -> Unit:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def intersection(self, first: str, second: str) -> str | None:
        """Return the unit of what is counted by both; None if there is none."""
        dimensions = {*self[first].dimensions.items(), *self[second].dimensions.items()}
        found = self._by_dimensions.get(frozenset(dimensions))
        return None if found is None else found.name
