from collections.abc import Callable

from llm_gateway.core.ledger.records import Breakdown

def begin_line(
    request_id: str, created_at: int, known: str, client: str, request_bytes: int, started_at: int | None, /
) -> bytes: ...
def end_line(
    request_id: str,
    created_at: int,
    known: str,
    client: str,
    prompt_tokens: int,
    completion_tokens: int,
    total_tokens: int,
    cached_tokens: int,
    reasoning_tokens: int,
    cache_write_tokens: int,
    usage_source: str,
    temperature: str,
    started_at: int | None,
    cost_source: str | None,
    unpriced: str | None,
    price_version: str | None,
    cost_nano_usd: int | None,
    prompt_nano_usd: int | None,
    completion_nano_usd: int | None,
    breakdown: Breakdown | None,
    upstream_us: int,
    latency_us: int,
    first_token_us: int | None,
    request_bytes: int,
    response_bytes: int,
    /,
) -> bytes | None: ...
def log_line(
    second: str,
    ms: int,
    request_id: str,
    client: str,
    known: str,
    prompt_tokens: int,
    completion_tokens: int,
    cost_nano_usd: int | None,
    latency_us: int,
    first_token_us: int | None,
    request_bytes: int,
    response_bytes: int,
    /,
) -> bytes: ...
def configure(
    begin_line: Callable[..., bytes], end_line: Callable[..., bytes | None], log_line: Callable[..., bytes], /
) -> None: ...
