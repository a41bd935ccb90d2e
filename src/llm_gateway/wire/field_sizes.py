"""Adds up how large some of the fields of a body are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

try:
    from llm_gateway.wire import _field_sizes as _compiled
except ImportError:
    # It was not compiled (docs/dependencies.md).
    _compiled = None  # type: ignore[assignment]
IS_COMPILED: Final = _compiled is not None


def python_weighed(
    fields: dict[str, msgspec.Raw], kinds: Mapping[str, bool], most: int, factor: int, base: int, /
) -> int:
    """Return `base`, and `factor` for each quarter of the sizes of fields that `kinds` says are counted.

    Quarters of each field are rounded up. -1 if one of them has more than `most` bytes, or if there is a field that
    `kinds` says is not counted: then sizes are not enough to know. Fields that it does not name do not matter. No
    number is negative, and the sum has less than 63 bits.
    """
    total = 0
    for name, value in fields.items():
        is_counted = kinds.get(name)
        if is_counted is not None:
            size = len(value)
            if not is_counted or size > most:
                return -1
            total += (size + 3) >> 2
    return base + factor * total


weighed: Callable[[dict[str, msgspec.Raw], dict[str, bool], int, int, int], int] = (
    _compiled.weighed if IS_COMPILED else python_weighed
)
