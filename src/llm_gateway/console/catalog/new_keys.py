"""The page that shows a new key once: the answer to the form itself, stored nowhere."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from llm_gateway.console.chat_models import chat_models
from llm_gateway.console.first_run.address import base_url
from llm_gateway.console.first_run.clients import ANY_MODEL, PLACEHOLDER, ClientSetup, clients
from llm_gateway.console.rendering import page
from llm_gateway.console.services import services_of
from llm_gateway.core.config.model_patterns import ModelPatterns
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.credentials import StoredCredential


def show_new_key(request: Request, row: StoredCredential, key: Secret) -> Response:
    """Return the page with a generated key, and lines for clients that hold it.

    Sending the form again makes no second key: the name is taken by then, and a rotation finds the row changed. The
    script lets a reload ask for the credential's page instead.
    """
    address = base_url(request)
    return page(
        request,
        "catalog/new_key.html",
        name=row.name,
        id=row.id,
        key=key.reveal(),
        previous_key_until=row.previous_key_expires_at,
        address=address,
        clients=_clients_with(address, _model_for(request, row), key),
    )


def _clients_with(address: str, model: str, key: Secret) -> Sequence[ClientSetup]:
    text = key.reveal()
    return [
        one._replace(
            blocks=tuple(block._replace(text=block.text.replace(PLACEHOLDER, text)) for block in one.blocks)
        )
        for one in clients(address, model)
    ]


def _model_for(request: Request, row: StoredCredential) -> str:
    """Return a model that the credential may use."""
    allowed = ModelPatterns(row.allowed_models if isinstance(row.allowed_models, tuple) else None)
    models = chat_models(services_of(request).snapshots.current)
    return next((model for model in models if model in allowed), ANY_MODEL)
