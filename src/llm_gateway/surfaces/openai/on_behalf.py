"""Chats of the gateway's own pages: each as a credential that an admin chose, without its key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from llm_gateway.core.config.credentials import Credential, Refused
from llm_gateway.core.errors import Forbidden, NotFound
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.catalog import KeyHasher
from llm_gateway.flow.ports.dialect import Attribution, PresentedKey
from llm_gateway.http.model_routes.data_plane import DataPlane, Handler
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.surfaces.openai.dialect import OpenAIDialect
from llm_gateway.surfaces.openai.parsing import parse_chat
from llm_gateway.surfaces.openai.routes import CHAT_PATH

# Usage rows tell by it who sent the request.
_FROM_CONSOLE: Final = Attribution(tags={"source": "console"})
# All else that a browser sends stays here: cookies above all, but also what the gateway would send to providers.
_PASSED: Final = frozenset(
    {
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"x-forwarded-for",
        b"x-llm-gateway-cache",
        b"x-llm-gateway-cost",
        b"x-llm-gateway-dry-run",
        b"x-llm-gateway-max-cost-usd",
    }
)
_PROBLEMS: Final[Mapping[Refused, str]] = {
    "revoked": "is revoked. Choose another one",
    "disabled": "is disabled. Enable it, or choose another one",
    "expired": "has expired. Extend it, or choose another one",
}


class CredentialCaller(PresentedKey):
    """A credential by its id. Each request is judged by the credential as it is then, whatever its key is by now."""

    __slots__ = ("_gateway", "_id")

    def __init__(self, gateway: Gateway, credential_id: int) -> None:
        super().__init__("")
        self._gateway = gateway
        self._id = credential_id

    def digest(self, hasher: KeyHasher) -> bytes:
        """Return the hash of the current key. Raises NotFound, or Forbidden for a credential that may not be used."""
        del hasher
        credential = self._credential()
        refused = credential.why_refused(self._gateway.clock.unix_us())
        if refused is not None:
            message = f"The credential '{credential.name}' {_PROBLEMS[refused]}."
            raise Forbidden(message, code="credential_not_usable")
        return credential.key_hash

    def _credential(self) -> Credential:
        snapshot = self._gateway.snapshots.current
        credentials = () if snapshot is None else snapshot.catalog.credentials
        found = next((one for one in credentials if one.id == self._id), None)
        if found is None:
            message = f"There is no credential {self._id} any more. Reload the page and choose another one."
            raise NotFound(message, code="credential_not_found")
        return found


class _OnBehalf(OpenAIDialect):
    """Chat as OpenAI has it, of a caller whom no header names."""

    def __init__(self, caller: CredentialCaller) -> None:
        super().__init__(parse_chat)
        self._caller = caller

    def identify(self, headers: Mapping[bytes, bytes]) -> PresentedKey:
        del headers
        return self._caller

    def attribute(self, headers: Mapping[bytes, bytes]) -> Attribution:
        del headers
        return _FROM_CONSOLE


def chats_as_credentials(plane: DataPlane) -> Callable[[int], Handler]:
    """Return a function that returns the chat handler of a credential, by its id.

    Its paths must have the id in them: requests with equal heads on one connection share their caller.
    """

    def chat_as(credential_id: int) -> Handler:
        handler = plane.model_route(CHAT_PATH, _OnBehalf(CredentialCaller(plane.gateway, credential_id)))

        async def serve(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
            headers = [pair for pair in scope["headers"] if pair[0] in _PASSED]
            await handler({**scope, "headers": headers}, receive, send, request_id)

        return serve

    return chat_as
