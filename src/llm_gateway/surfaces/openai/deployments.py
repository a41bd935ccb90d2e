"""Azure's older paths, which name the model: `/openai/deployments/{model}/chat/completions`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION, Attribution, IncomingCall
from llm_gateway.http.model_routes.data_plane import DataPlane, Handler
from llm_gateway.surfaces.openai.dialect import OpenAIDialect
from llm_gateway.surfaces.openai.parsing import parse_chat, parse_completion, parse_embedding

_MOST_PATHS: Final = 256
DEPLOYMENTS_PATH: Final = "/openai/deployments/"
# By the end of the path; the longest comes first.
_PARSERS: Final[Mapping[str, Callable[[bytes], ModelRequest]]] = {
    "/chat/completions": parse_chat,
    "/completions": parse_completion,
    "/embeddings": parse_embedding,
}


def deployment_handlers(plane: DataPlane) -> Callable[[str], Handler | None]:
    """Return a function that finds the handler of a path below DEPLOYMENTS_PATH; None if there is nothing."""

    # Clients choose the path, so that there may be any number of them.
    @lru_cache(maxsize=_MOST_PATHS)
    def find(path: str) -> Handler | None:
        for ending, parse in _PARSERS.items():
            if path.endswith(ending):
                model = path.removeprefix(DEPLOYMENTS_PATH).removesuffix(ending)
                return plane.model_route(f"/v1{ending}", _DeploymentDialect(parse, model)) if model else None
        return None

    return find


class _DeploymentDialect(OpenAIDialect):
    """The dialect of one request, whose path names the model."""

    def __init__(self, parse: Callable[[bytes], ModelRequest], model: str) -> None:
        super().__init__(parse)
        self._model = model

    def read(self, body: bytes, call: IncomingCall) -> tuple[ModelRequest, Attribution]:
        del call
        return self._parse(_with_model(body, self._model)), NO_ATTRIBUTION


def _with_model(body: bytes, model: str) -> bytes:
    """Return a JSON object with the field `model`, which replaces one before it; anything else as it is."""
    start, end, rest = body.rstrip().rpartition(b"}")
    if not end or rest:
        return body
    separator = b"" if start.strip() == b"{" else b","
    return b'%b%b"model":%b}' % (start, separator, msgspec.json.encode(model))
