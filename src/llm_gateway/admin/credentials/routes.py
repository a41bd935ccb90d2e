"""`/admin/v1/credentials`: create, list, show, change, rotate and delete clients' keys."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Response

from llm_gateway.admin.credentials.schemas import (
    CredentialChange,
    CredentialPage,
    CredentialView,
    NewCredential,
    WrittenCredential,
    shown,
)
from llm_gateway.admin.crud import DELETE_RESPONSES, Crud
from llm_gateway.admin.services import Services
from llm_gateway.admin.shapes import read_id
from llm_gateway.admin.write_options import Options
from llm_gateway.flow.config.rows.credentials import StoredCredential

router = APIRouter(prefix="/credentials", tags=["credentials"])

_CRUD = Crud(
    stored=StoredCredential,
    name="credential",
    new=NewCredential,
    change=CredentialChange,
    view=CredentialView,
    written=WrittenCredential,
    page=CredentialPage,
    shown=shown,
    by_name=False,
    docs={
        "create": "Create a credential; a key that the gateway generates is in this answer and nowhere else.",
        "list": "List credentials by id.",
        "get": "Show one credential.",
        "change": "Change the fields in the body; the others stay as they are.",
        "delete": "Delete a credential; requests in flight finish.",
    },
)
_CRUD.add_to(router)


@router.post("/{credential}/rotate", response_model_exclude_unset=True, responses=DELETE_RESPONSES)
async def rotate_credential(
    credential: str, services: Services, options: Options, response: Response
) -> WrittenCredential:
    """Replace the key by a generated one, shown this once; the old one stops working when this answers."""
    credential_id = read_id(credential, StoredCredential.resource)
    edited = await services.editor.rotate_credential(credential_id, options)
    return cast("WrittenCredential", _CRUD.answer(edited, services, response))
