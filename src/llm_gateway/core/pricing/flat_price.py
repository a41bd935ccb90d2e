"""The cost of plain text: input and output tokens alone, at prices that do not depend on how many there are.

Most requests are of this sort; their cost is two products and a rounding, and the same as by the whole table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

_INPUT: Final = "input_tokens"
_OUTPUT: Final = "output_tokens"
# Where no tier ends it: Python compares integers below this in a fraction of the time that larger ones take.
_MOST_INPUT: Final = 2**30 - 1


# It is no tuple with names: taking one apart takes several times as long as reading the fields.
class FlatPrice(msgspec.Struct, frozen=True, gc=False):
    """What a token costs in nano-USD times `divisor`, while there are at most `most_input` input tokens.

    `half` is half of `divisor`. It is 0, and `divisor` 1, where every token costs whole nano-USD, as those of nearly
    all models do: then nothing is rounded.
    """

    most_input: int
    divisor: int
    half: int
    input: int
    output: int


class PlainPrice(msgspec.Struct, frozen=True, gc=False):
    """A flat price of whole nano-USD, with who says so, and the version of the prices.

    With at most `most_input` input tokens, nothing has to be rounded.
    """

    most_input: int
    input: int
    output: int
    source: Literal["catalog", "override"]
    version: str


def flat_price(
    bands: Sequence[tuple[int, Sequence[tuple[str, int, tuple[int, ...]]]]],
    denominator: int,
    request: int,
    special: frozenset[str],
) -> FlatPrice | None:
    """Return the flat price of a table with these `bands` and prices of a `request`; None if it has none.

    Units that are `special` are billed by more than their number.
    """
    lines = bands[0][1]
    names = [name for name, _, _ in lines]
    if request or _INPUT not in names or _OUTPUT not in names or special & {_INPUT, _OUTPUT}:
        return None
    first, last = names.index(_INPUT), names.index(_OUTPUT)
    # Other units take nothing from these two, and nothing of them, if a reply does not report any.
    if first > last or any(part in (first, last) for _, _, parts in lines for part in parts):
        return None
    most = min(bands[1][0], _MOST_INPUT) if len(bands) > 1 else _MOST_INPUT
    if denominator == 1:
        return FlatPrice(most, 1, 0, lines[first][1], lines[last][1])
    return FlatPrice(most, 2 * denominator, denominator, 2 * lines[first][1], 2 * lines[last][1])


def flat_amount(flat: FlatPrice, prompt: int, completion: int) -> int:
    """Return the nano-USD of tokens, rounded once, half to even; none of the numbers is negative or too large."""
    amount = prompt * flat.input + completion * flat.output
    if not flat.half:
        return amount
    amount, rest = divmod(amount + flat.half, flat.divisor)
    # Without a rest two integers were equally near.
    return amount if rest else amount - (amount & 1)


def flat_breakdown(
    flat: FlatPrice, prompt: int, completion: int, amount: int
) -> dict[str, tuple[int | float, int]]:
    """Return the parts of the `amount` that `flat_amount` gave for the same tokens, as `price` does."""
    if not completion:
        return {_INPUT: (prompt, amount)} if prompt else {}
    if not prompt:
        return {_OUTPUT: (completion, amount)}
    before = flat_amount(flat, prompt, 0)
    return {_INPUT: (prompt, before), _OUTPUT: (completion, amount - before)}
