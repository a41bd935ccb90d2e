from collections.abc import Mapping

from llm_gateway.server.http1.response_head import Headers

def join_head(
    start: bytes, headers: Headers, names: Mapping[bytes, bytes], body: bytes | None, /
) -> bytes | None: ...
