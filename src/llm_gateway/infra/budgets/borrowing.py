"""How much a machine borrows of a budget, and how much it returns."""

from __future__ import annotations

from typing import Final

from llm_gateway.flow.ports.budgets import WindowState

# The most that a machine keeps on hand, in percent of the budget, while less than so many percent of it are used.
_CAPS: Final = ((50, 25), (80, 10), (100, 5))
# On hand at least, in percent of the budget, so that requests which come now and then need not wait.
_FLOOR_PERCENT: Final = 1
# From here on what is not needed is returned, for other machines.
_SCARCE_PERCENT: Final = 80


def change(state: WindowState, on_hand: int, waiting: int, soon: int) -> int:
    """Return how much more to borrow; negative: how much to return.

    `on_hand` is borrowed and free, negative when requests have cost more than was borrowed; `waiting` is what waiting
    requests need, `soon` what requests are likely to need until the next few rounds.
    """
    if state.left < 0:
        return -min(max(on_hand, 0), -state.left)
    cap = state.amount * share_percent(state) // 100
    wanted = min(max(soon, state.amount * _FLOOR_PERCENT // 100), cap)
    if state.left < cap:
        # Near the end it is what waits now, so that all machines can use what is left.
        wanted = 0
    target = max(wanted, waiting)
    if on_hand < target:
        return min(target - on_hand, state.left)
    surplus = on_hand - max(target, min(soon, on_hand))
    if surplus > 0 and is_scarce(state):
        return -surplus
    return 0


def last_change(state: WindowState, on_hand: int) -> int:
    """Return the change that leaves nothing on hand: all goes back, or what was overspent is borrowed, if left."""
    return -on_hand if on_hand >= 0 else min(-on_hand, max(state.left, 0))


def share_percent(state: WindowState) -> int:
    """Return the most that a machine keeps on hand, in percent of the budget: less as the budget is used up."""
    used = state.spent + state.held
    return next((cap for below, cap in _CAPS if used * 100 < state.amount * below), _CAPS[-1][1])


def is_scarce(state: WindowState) -> bool:
    """Tell whether so little is left that machines return what they do not need now."""
    return (state.spent + state.held) * 100 >= state.amount * _SCARCE_PERCENT
