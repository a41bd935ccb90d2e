"""`/admin/v1/providers`: create, list, show, change, delete and test upstream accounts."""

from __future__ import annotations

from fastapi import APIRouter

from llm_gateway.admin.crud import Crud
from llm_gateway.admin.providers.trial_schemas import (
    OfferedModels,
    TrialOutcome,
    TrialRequest,
    offered,
    outcome_of,
)
from llm_gateway.admin.services import Services
from llm_gateway.flow.config.rows.providers import StoredProvider
from llm_gateway.resources.providers import (
    NewProvider,
    ProviderChange,
    ProviderPage,
    ProviderView,
    WrittenProvider,
    shown,
)

router = APIRouter(prefix="/providers", tags=["providers"])

_CRUD = Crud(
    stored=StoredProvider,
    name="provider",
    new=NewProvider,
    change=ProviderChange,
    view=ProviderView,
    written=WrittenProvider,
    page=ProviderPage,
    shown=shown,
    docs={
        "create": "Create a provider; it takes requests as soon as this answers.",
        "list": "List providers by id.",
        "get": "Show one provider, by id or provider_key.",
        "change": "Change the fields in the body; the others stay as they are.",
        "delete": "Delete a provider; requests in flight finish.",
    },
)
_CRUD.add_to(router)


@router.post("/{provider}/test")
async def try_provider(provider: str, services: Services, body: TrialRequest | None = None) -> TrialOutcome:
    """Send one tiny chat, as a client's request would be sent, and return the result; it leaves no usage row."""
    model = None if body is None else body.model
    opened = await services.catalog.open_provider(_CRUD.ref(provider))
    return outcome_of(await services.tester.test(opened, model))


@router.get("/{provider}/models")
async def list_provider_models(provider: str, services: Services) -> OfferedModels:
    """Ask the provider for its models, and show the public names that lead to each."""
    return offered(await services.tester.models(await services.catalog.open_provider(_CRUD.ref(provider))))
