"""The page that shows a new key once: the answer to the form itself, stored nowhere."""

from __future__ import annotations

import json
import shlex

from starlette.requests import Request
from starlette.responses import Response

from llm_gateway.console.links import gateway_address
from llm_gateway.console.rendering import page
from llm_gateway.console.services import services_of
from llm_gateway.core.config.model_patterns import ModelPatterns
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.credentials import StoredCredential

_ANY_MODEL = "MODEL"


def show_new_key(request: Request, row: StoredCredential, key: Secret) -> Response:
    """Return the page with a generated key, and lines to try it with.

    Sending the form again makes no second key: the name is taken by then, and a rotation finds the row changed. The
    script lets a reload ask for the credential's page instead.
    """
    return page(
        request,
        "catalog/new_key.html",
        name=row.name,
        id=row.id,
        key=key.reveal(),
        previous_key_until=row.previous_key_expires_at,
        address=f"{gateway_address(request)}/v1",
        curl=_curl_line(gateway_address(request), key, _model_for(request, row)),
    )


def _model_for(request: Request, row: StoredCredential) -> str:
    """Return a model that the credential may use."""
    snapshot = services_of(request).snapshots.current
    allowed = ModelPatterns(row.allowed_models or None if isinstance(row.allowed_models, tuple) else None)
    models = () if snapshot is None else snapshot.explicit_models
    return next((model for model in models if model in allowed), _ANY_MODEL)


def _curl_line(address: str, key: Secret, model: str) -> str:
    body = json.dumps(
        {"model": model, "messages": [{"role": "user", "content": "Hello"}]}, ensure_ascii=False
    )
    return (
        f"curl {shlex.quote(f'{address}/v1/chat/completions')} \\\n"
        f"  -H {shlex.quote(f'authorization: Bearer {key.reveal()}')} \\\n"
        f"  -H 'content-type: application/json' \\\n"
        f"  -d {shlex.quote(body)}"
    )
