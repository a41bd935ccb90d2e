"""`/admin/v1/providers`: create, list, show, change, delete and try out upstream accounts."""

from __future__ import annotations

from fastapi import APIRouter

from llm_gateway.admin.providers.schemas import (
    NewProvider,
    ProviderChange,
    ProviderPage,
    ProviderView,
    WrittenProvider,
    view,
    written,
)
from llm_gateway.admin.providers.trial_schemas import (
    OfferedModels,
    TrialOutcome,
    TrialRequest,
    offered,
    outcome_of,
)
from llm_gateway.admin.services import Services
from llm_gateway.admin.shapes import PAGE_SIZE, Cursor, Deleted, Limit, id_after, make_cursor, read_ref
from llm_gateway.core.config.catalog import Provider
from llm_gateway.core.errors import NotFound, Unprocessable
from llm_gateway.flow.config.rows import ProviderEntry

router = APIRouter(prefix="/providers", tags=["providers"])


def _ref(provider: str) -> int | str:
    return read_ref(provider, "provider")


@router.post("", status_code=201, response_model_exclude_unset=True)
async def create_provider(body: NewProvider, services: Services) -> WrittenProvider:
    """Create a provider; it takes requests as soon as this answers."""
    return written(await services.editor.create_provider(body.fields()))


@router.get("")
async def list_providers(services: Services, cursor: Cursor = None, limit: Limit = PAGE_SIZE) -> ProviderPage:
    """List providers by id."""
    entries = await services.store.list(ProviderEntry, id_after(cursor), limit + 1)
    more = len(entries) > limit
    page = entries[:limit]
    return ProviderPage(
        data=[view(entry) for entry in page], next_cursor=make_cursor(str(page[-1].id)) if more else None
    )


@router.get("/{provider}")
async def get_provider(provider: str, services: Services) -> ProviderView:
    """Show one provider, by id or provider_key."""
    entry = await services.store.find(ProviderEntry, _ref(provider))
    if entry is None:
        raise NotFound(f"There is no provider {provider!r}")
    return view(entry)


@router.put("/{provider}", response_model_exclude_unset=True)
@router.patch("/{provider}", response_model_exclude_unset=True)
async def change_provider(provider: str, body: ProviderChange, services: Services) -> WrittenProvider:
    """Change what the body names; the rest stays."""
    return written(await services.editor.update_provider(_ref(provider), body.fields()))


@router.delete("/{provider}", response_model_exclude_unset=True)
async def delete_provider(provider: str, services: Services) -> Deleted:
    """Delete a provider; requests it is serving finish."""
    return Deleted.of(await services.editor.delete(ProviderEntry, _ref(provider)))


@router.post("/{provider}/test")
async def try_provider(provider: str, services: Services, body: TrialRequest | None = None) -> TrialOutcome:
    """Send one tiny chat, as a client's request would be sent, and say what came back; it is no client's usage."""
    model = None if body is None else body.model
    return outcome_of(await services.tester.test(await _opened(provider, services), model))


@router.get("/{provider}/models")
async def list_provider_models(provider: str, services: Services) -> OfferedModels:
    """Ask the provider which models it has, and say as what each is served."""
    return offered(await services.tester.models(await _opened(provider, services)))


async def _opened(provider: str, services: Services) -> Provider:
    """Return a stored provider, enabled or not, with its secret; raise NotFound, Unprocessable."""
    entry = await services.store.find(ProviderEntry, _ref(provider))
    catalog = await services.source.load()
    found = next((row for row in catalog.providers if entry is not None and row.id == entry.id), None)
    if entry is None or found is None:
        raise NotFound(f"There is no provider {provider!r}")
    name = f"provider {found.provider_key!r}: "
    faults = [fault.removeprefix(name) for fault in catalog.faults if fault.startswith(name)]
    if entry.api_key is not None and found.secret is None and not faults:
        faults.append("api_key cannot be had: its environment variable is not set, or it cannot be opened")
    if faults:
        raise Unprocessable(f"This provider cannot be used: {'; '.join(faults)}", param="api_key")
    return found
