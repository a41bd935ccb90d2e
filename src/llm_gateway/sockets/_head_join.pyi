from collections.abc import Mapping

from llm_gateway.sockets.head_join import Headers

def join_head(
    start: bytes, headers: Headers, names: Mapping[bytes, bytes], body: bytes | None, /
) -> bytes | None: ...
