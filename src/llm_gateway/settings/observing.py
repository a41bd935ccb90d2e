"""Settings of the traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llm_gateway.settings.values import setting


@dataclass(frozen=True, kw_only=True)
class ObservingSettings:
    """Which traces the gateway exports. OpenTelemetry's SDK reads where to from the environment itself."""

    otel_traces: Literal["off", "on"] = setting(
        "off", description="Export traces with OpenTelemetry; on needs the extra otel."
    )
    otel_trace_parent: Literal["parent", "link"] = setting(
        "parent",
        description="What the trace of a request's traceparent header is: the parent of the gateway's spans, or only"
        " a link of a trace of their own.",
    )
    otel_prompts: bool = setting(
        False, description="Adds the text of prompts of up to 64 KiB to the spans of attempts."
    )
