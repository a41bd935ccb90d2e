"""`/admin/v1/credentials`: create, list, show, change, rotate and delete clients' keys."""

from __future__ import annotations

from fastapi import APIRouter

from llm_gateway.admin.credentials.schemas import (
    CredentialChange,
    CredentialPage,
    CredentialToCreate,
    CredentialView,
    WrittenCredential,
    view,
    written,
    written_with_key,
)
from llm_gateway.admin.services import Services
from llm_gateway.admin.shapes import PAGE_SIZE, Cursor, Deleted, Limit, id_after, make_cursor, read_id
from llm_gateway.core.errors import NotFound
from llm_gateway.flow.config.rows import CredentialEntry

router = APIRouter(prefix="/credentials", tags=["credentials"])


def _id(credential: str) -> int:
    return read_id(credential, "credential")


@router.post("", status_code=201, response_model_exclude_unset=True)
async def create_credential(body: CredentialToCreate, services: Services) -> WrittenCredential:
    """Create a credential; a key that the gateway made is in this answer and nowhere else."""
    return written_with_key(await services.editor.create_credential(body.fields(), body.secret()))


@router.get("")
async def list_credentials(
    services: Services, cursor: Cursor = None, limit: Limit = PAGE_SIZE
) -> CredentialPage:
    """List credentials by id."""
    entries = await services.store.list(CredentialEntry, id_after(cursor), limit + 1)
    more = len(entries) > limit
    page = entries[:limit]
    return CredentialPage(
        data=[view(entry) for entry in page], next_cursor=make_cursor(str(page[-1].id)) if more else None
    )


@router.get("/{credential}")
async def get_credential(credential: str, services: Services) -> CredentialView:
    """Show one credential."""
    entry = await services.store.find(CredentialEntry, _id(credential))
    if entry is None:
        raise NotFound(f"There is no credential {credential!r}")
    return view(entry)


@router.put("/{credential}", response_model_exclude_unset=True)
@router.patch("/{credential}", response_model_exclude_unset=True)
async def change_credential(credential: str, body: CredentialChange, services: Services) -> WrittenCredential:
    """Change what the body names; the rest stays."""
    edited = await services.editor.update_credential(_id(credential), body.fields(), body.secret())
    return written(edited)


@router.post("/{credential}/rotate", response_model_exclude_unset=True)
async def rotate_credential(credential: str, services: Services) -> WrittenCredential:
    """Replace the key by a fresh one, shown this once; the old one stops working when this answers."""
    return written_with_key(await services.editor.rotate_credential(_id(credential)))


@router.delete("/{credential}", response_model_exclude_unset=True)
async def delete_credential(credential: str, services: Services) -> Deleted:
    """Delete a credential; requests it has begun finish."""
    return Deleted.of(await services.editor.delete(CredentialEntry, _id(credential)))
