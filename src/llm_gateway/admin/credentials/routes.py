"""`/admin/v1/credentials`: clients' keys, and the verbs rotate, disable, enable and revoke."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Response

from llm_gateway.admin.crud import CHANGE_RESPONSES, Crud
from llm_gateway.admin.services import AdminServices, Services
from llm_gateway.admin.write_options import Options
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.editor import Edited
from llm_gateway.flow.config.rows.credentials import StoredCredential
from llm_gateway.resources.credentials import (
    CredentialChange,
    CredentialPage,
    CredentialView,
    NewCredential,
    Rotation,
    WrittenCredential,
    shown,
)
from llm_gateway.resources.shapes import read_id

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


@router.post("/{credential}/rotate", response_model_exclude_unset=True, responses=CHANGE_RESPONSES)
async def rotate_credential(
    credential: str, services: Services, options: Options, response: Response, body: Rotation | None = None
) -> WrittenCredential:
    """Replace the key. The old one works during the overlap; the one before it, if any, no longer works.

    A generated key is in this answer and nowhere else.
    """
    rotation = body or Rotation()
    key = None if rotation.key is None else Secret(rotation.key.get_secret_value())
    edited = await services.editor.rotate_credential(
        _id(credential), options, key=key, overlap=rotation.overlap
    )
    return _answer(edited, services, response)


@router.post("/{credential}/disable", response_model_exclude_unset=True, responses=CHANGE_RESPONSES)
async def disable_credential(
    credential: str, services: Services, options: Options, response: Response
) -> WrittenCredential:
    """Refuse the credential's keys until it is enabled."""
    edited = await services.editor.set_enabled(_id(credential), options, is_enabled=False)
    return _answer(edited, services, response)


@router.post("/{credential}/enable", response_model_exclude_unset=True, responses=CHANGE_RESPONSES)
async def enable_credential(
    credential: str, services: Services, options: Options, response: Response
) -> WrittenCredential:
    """Accept the credential's keys again."""
    edited = await services.editor.set_enabled(_id(credential), options, is_enabled=True)
    return _answer(edited, services, response)


@router.post("/{credential}/revoke", response_model_exclude_unset=True, responses=CHANGE_RESPONSES)
async def revoke_credential(
    credential: str, services: Services, options: Options, response: Response
) -> WrittenCredential:
    """Destroy the credential's keys for good; its usage rows stay."""
    edited = await services.editor.revoke_credential(_id(credential), options)
    return _answer(edited, services, response)


def _id(text: str) -> int:
    return read_id(text, StoredCredential.resource)


def _answer(
    edited: Edited[StoredCredential], services: AdminServices, response: Response
) -> WrittenCredential:
    return cast("WrittenCredential", _CRUD.answer(edited, services, response))
