"""The commands about costs: export usage, compare it with a bill, price it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from decimal import Decimal
from pathlib import Path
from typing import IO

import msgspec

from llm_gateway.app.provider_kinds import provider_kinds
from llm_gateway.app.storage import open_existing_storage
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.deployments import EnabledProvider
from llm_gateway.core.config.prices import PriceLookup
from llm_gateway.core.pricing.deployment_prices import DeploymentPrices
from llm_gateway.core.pricing.price_book import PriceBook
from llm_gateway.flow.billing.charged_attempts import attempted_rows, charged_attempts
from llm_gateway.flow.billing.exporting import ExportFormat, export
from llm_gateway.flow.billing.reconciling import (
    AmbiguousPeriod,
    BilledCharge,
    Finding,
    RecordedCharge,
    reconcile,
    record_costs,
)
from llm_gateway.flow.billing.repricing import FindPrices, RepriceReport, reprice
from llm_gateway.flow.ports.usage import UsageFilter
from llm_gateway.infra.database.usage.repricing import CostRepository
from llm_gateway.infra.price_book.shipped import shipped_price_book
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.settings import Settings
from llm_gateway.wire.cost_files.bill import TOOL_UNITS, BillFormat, InvalidBill
from llm_gateway.wire.cost_files.reading import Bill, read_bill

_TOOLS = frozenset(TOOL_UNITS.values())


class Reconciliation(msgspec.Struct, frozen=True):
    """A comparison: the providers whose rows were compared, and the findings in order."""

    providers: tuple[str, ...]
    findings: tuple[Finding, ...]


async def export_usage(
    settings: Settings, form: ExportFormat, wanted: UsageFilter, zone: tzinfo, target: IO[bytes]
) -> int:
    """Write an export to `target`, and return how many attempts of unknown cost have no line in FOCUS."""
    unpriced: list[int] = []
    async with open_existing_storage(settings) as storage:
        pieces = export(
            form, storage.usage, wanted, zone=zone, account=storage.namespace, on_unpriced=unpriced.append
        )
        async for piece in pieces:
            target.write(piece)
    return sum(unpriced)


async def reconcile_bill(
    settings: Settings,
    file: Path,
    *,
    form: BillFormat | None = None,
    providers: Sequence[str] = (),
    tolerance: Decimal = Decimal(0),
) -> Reconciliation:
    """Compare a bill with the rows of the providers that it is from; raise StartupError for one that cannot be read.

    Without `providers`, those are compared whose prices are the biller's in the price book.
    """
    bill = _read(file, form)
    book = shipped_price_book()
    async with open_existing_storage(settings) as storage:
        catalog = await storage.catalog.load()
        names = tuple(providers) or _billed_providers(catalog, bill.format)
        canonical = _canonical(book, "" if bill.format == "focus" else bill.format)
        since, until = min(line.start for line in bill.lines), max(line.end for line in bill.lines)
        recorded: dict[tuple[int, str], RecordedCharge] = {}
        for name in names:
            wanted = UsageFilter(since=since, until=until, provider=name)
            attempts = charged_attempts(storage.usage, wanted)
            found = await record_costs(attempts, canonical=canonical, tools=_TOOLS)
            if not found and all(name != provider.provider_key for provider in catalog.providers):
                message = f"there is no provider {name!r}, nor a usage row of one in the time of the bill"
                raise StartupError(message)
            for item, one in found.items():
                known = recorded.setdefault(item, RecordedCharge())
                known.nano_usd += one.nano_usd
                known.unpriced += one.unpriced
    billed = [
        BilledCharge(line.start, line.end, line.model or line.item, line.nano_usd) for line in bill.lines
    ]
    try:
        findings = reconcile(billed, recorded, canonical=canonical, tolerance=tolerance)
    except AmbiguousPeriod as error:
        raise StartupError(f"{file}: {error}") from None
    return Reconciliation(names, tuple(findings))


def _read(file: Path, form: BillFormat | None) -> Bill:
    try:
        return read_bill(file.read_bytes(), form)
    except OSError as error:
        raise StartupError(f"{file} cannot be read: {error.strerror}") from None
    except InvalidBill as error:
        raise StartupError(f"{file}: {error}") from None


def _billed_providers(catalog: Catalog, biller: BillFormat) -> tuple[str, ...]:
    if biller == "focus":
        message = "a FOCUS file does not say which providers it is about; name them with --provider"
        raise StartupError(message)
    kinds = provider_kinds()
    names = tuple(
        provider.provider_key
        for provider in catalog.providers
        if provider.provider_type in kinds
        and EnabledProvider(provider, kinds[provider.provider_type]).price_provider == biller
    )
    if not names:
        message = (
            f"no provider's costs are billed by {biller}; name the providers of this bill with --provider"
        )
        raise StartupError(message)
    return names


def _canonical(book: PriceBook, biller: str) -> Callable[[str], str]:
    """Return a function that calls a model alike on the bill and in the rows: gpt-4o and gpt-4o-2024-08-06."""

    def name(model: str) -> str:
        found = book.schedule(biller, model).model if biller else None
        return found or model.lower()

    return name


async def reprice_usage(settings: Settings, wanted: UsageFilter, *, apply: bool) -> RepriceReport:
    """Price stored rows again by the prices in force now; store what changes only with `apply`."""
    async with open_existing_storage(settings) as storage:
        find_prices = _finder(await storage.catalog.load())
        writer = CostRepository(storage.engine, storage.postings) if apply else None
        rows = (record async for record, _ in attempted_rows(storage.usage, wanted))
        return await reprice(storage.usage, rows, find_prices, writer)


def _finder(catalog: Catalog) -> FindPrices:
    lookup, kinds = PriceLookup(shipped_price_book(), catalog.prices), provider_kinds()
    providers: Mapping[str, EnabledProvider] = {
        provider.provider_key: EnabledProvider(provider, kinds[provider.provider_type], lookup)
        for provider in catalog.providers
        if provider.provider_type in kinds
    }

    def find(provider_key: str, upstream_model: str) -> DeploymentPrices | None:
        provider = providers.get(provider_key)
        return None if provider is None else provider.prices(upstream_model)

    return find
