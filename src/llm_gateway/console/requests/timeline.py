"""The times of one request on one axis: before, between and after its attempts, and the attempts themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord

# Units along the axis of a drawing.
WIDTH: Final = 1000
# What is drawn narrower than this could not be seen.
_NARROWEST: Final = 3
# Milliseconds below which the time around attempts is not worth a lane.
_LEAST_GAP: Final = 1.0
_MOST_LANES: Final = 50

# The gateway's own time; waiting for the first token; the reply; a failed attempt; an attempt with an unknown end.
Phase = Literal["gateway", "waiting", "streaming", "failed", "unknown"]


class Span(NamedTuple):
    """A stretch of time in milliseconds since the request began, and where it is drawn."""

    phase: Phase
    start: float
    end: float
    x: float
    width: float

    @property
    def length(self) -> float:
        return self.end - self.start


class Lane(NamedTuple):
    """One line of the drawing."""

    label: str
    spans: tuple[Span, ...]

    @property
    def start(self) -> float:
        return self.spans[0].start

    @property
    def end(self) -> float:
        return self.spans[-1].end

    @property
    def phases(self) -> dict[str, float]:
        """The milliseconds of each phase."""
        return {span.phase: span.length for span in self.spans}


class Timeline(NamedTuple):
    """All lanes, and the milliseconds that the axis has room for."""

    total: float
    lanes: tuple[Lane, ...]
    # Attempts that are not drawn.
    more: int

    @property
    def ticks(self) -> tuple[float, ...]:
        """The milliseconds at the beginning, the quarters and the end of the axis."""
        return tuple(self.total * quarter / 4 for quarter in range(5))


def timeline_of(record: UsageRecord, attempts: Sequence[AttemptEnded]) -> Timeline | None:
    """Return the times of a request; None if none are known, as when its process was killed."""
    bounds = [_bounds(record, attempts, index) for index in range(len(attempts))]
    total = max([record.latency_ms, *(end for _, _, end in bounds)], default=0.0)
    if total <= 0:
        return None
    drawing = _Drawing(total)
    lanes = []
    first = bounds[0][0] if bounds else total
    if first >= _LEAST_GAP or not bounds:
        lanes.append(
            Lane(
                "Before the first attempt" if bounds else "Gateway",
                (drawing.span("gateway", 0.0, first),),
            )
        )
    for attempt, (start, content, end) in zip(attempts[:_MOST_LANES], bounds, strict=False):
        label = f"Attempt {attempt.attempt}: {attempt.provider[:60]}"
        lanes.append(Lane(label, drawing.attempt(attempt, start, content, end)))
    if bounds and total - bounds[-1][2] >= _LEAST_GAP:
        lanes.append(Lane("After the last attempt", (drawing.span("gateway", bounds[-1][2], total),)))
    return Timeline(total, tuple(lanes), max(len(attempts) - _MOST_LANES, 0))


def _bounds(
    record: UsageRecord, attempts: Sequence[AttemptEnded], index: int
) -> tuple[float, float | None, float]:
    """Return the start, the first content and the end of an attempt, in this order of time."""
    attempt = attempts[index]
    start = max((attempt.started_at - record.created_at) / 1000, 0.0)
    following = attempts[index + 1].started_at if index + 1 < len(attempts) else None
    limit = record.latency_ms if following is None else (following - record.created_at) / 1000
    # Without a latency the attempt lasted until the next one, at most.
    end = start + attempt.latency_ms if attempt.latency_ms is not None else max(limit, start)
    content = None if attempt.ttft_ms is None else min(start + attempt.ttft_ms, end)
    return start, content, end


class _Drawing:
    """Places spans on the axis."""

    def __init__(self, total: float) -> None:
        self._scale = WIDTH / total

    def span(self, phase: Phase, start: float, end: float) -> Span:
        width = min(max((end - start) * self._scale, _NARROWEST), WIDTH)
        return Span(phase, start, end, min(start * self._scale, WIDTH - width), width)

    def attempt(
        self, attempt: AttemptEnded, start: float, content: float | None, end: float
    ) -> tuple[Span, ...]:
        if attempt.latency_ms is None:
            return (self.span("unknown", start, end),)
        is_failed = attempt.outcome in {"error", "interrupted"}
        if content is None:
            return (self.span("failed" if is_failed else "waiting", start, end),)
        return (
            self.span("waiting", start, content),
            self.span("failed" if is_failed else "streaming", content, end),
        )
