"""FOCUS, the FinOps Open Cost and Usage Specification, as CSV: one row for each day, credential, model and meter.

Columns: https://focus.finops.org/focus-specification/v1-2/. Those of version 1.0 that 1.2 has no longer made
mandatory are written, too, so that either version's tools read the file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import msgspec

from llm_gateway.core.money import usd_text
from llm_gateway.core.pricing.price_list import decimal_text
from llm_gateway.core.times import iso_time
from llm_gateway.wire.cost_files.bill import (
    TOOL_UNITS,
    BillLine,
    InvalidBill,
    amount_of,
    check_currency,
    moment_of,
)

# No other format has this column.
FOCUS_MARK: Final = "ChargePeriodStart"
FOCUS_COLUMNS: Final = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency",
    "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription",
    "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit",
    "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "InvoiceId", "InvoiceIssuerName", "ListCost",
    "ListUnitPrice", "PricingCategory", "PricingCurrency", "PricingQuantity", "PricingUnit", "ProviderName",
    "PublisherName", "RegionId", "RegionName", "ResourceId", "ResourceName", "ResourceType", "ServiceCategory",
    "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceId", "SubAccountId", "SubAccountName",
    "SubAccountType", "Tags", "x_Credential", "x_Model", "x_Requests",
)  # fmt: skip
_MILLION: Final = 1_000_000
# Tools are items of their own in any bill, whatever model used them.
_TOOLS: Final = {**TOOL_UNITS, **{unit: unit for unit in TOOL_UNITS.values()}}
_REQUIRED_TO_READ: Final = ("BilledCost", "BillingCurrency", "ChargePeriodStart", "ChargePeriodEnd")


class FocusCharge(msgspec.Struct, frozen=True, kw_only=True):
    """What one credential used of one meter of a model in a period; times are Unix microseconds, ends exclusive."""

    start: int
    end: int
    month_start: int
    month_end: int
    provider: str
    model: str
    # A unit of the price book, or `total` where the provider stated the whole cost.
    meter: str
    credential: str
    tenant: str | None
    project: str | None
    quantity: int | float
    nano_usd: int
    requests: int
    # Names the gateway whose bill this is.
    account: str


def focus_row(charge: FocusCharge) -> dict[str, str]:
    """Return the cells of a row by column; what does not apply is empty, which is FOCUS's null."""
    cost = usd_text(charge.nano_usd)
    unit = charge.meter.replace("_", " ").removesuffix("tokens").strip()
    is_tokens = charge.meter.endswith("_tokens")
    quantity = _quantity_text(charge.quantity)
    price = _unit_price(charge) if charge.quantity else ""
    tags = {
        name: value
        for name, value in (("credential", charge.credential), ("project", charge.project))
        if value
    }
    return {
        **dict.fromkeys(FOCUS_COLUMNS, ""),
        "BilledCost": cost,
        "EffectiveCost": cost,
        "ListCost": cost,
        "ContractedCost": cost,
        "BillingAccountId": charge.account,
        "BillingAccountName": charge.account,
        "BillingAccountType": "Gateway",
        "BillingCurrency": "USD",
        "PricingCurrency": "USD",
        "BillingPeriodStart": _moment(charge.month_start),
        "BillingPeriodEnd": _moment(charge.month_end),
        "ChargePeriodStart": _moment(charge.start),
        "ChargePeriodEnd": _moment(charge.end),
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ChargeDescription": f"{charge.model}: {unit or 'total'}",
        "ConsumedQuantity": quantity,
        "ConsumedUnit": "Tokens" if is_tokens else "Units",
        "PricingQuantity": quantity,
        "PricingUnit": "Tokens" if is_tokens else "Units",
        "PricingCategory": "Standard",
        "ListUnitPrice": price,
        "ContractedUnitPrice": price,
        "InvoiceIssuerName": charge.provider,
        "ProviderName": charge.provider,
        "PublisherName": charge.provider,
        "ResourceId": charge.model,
        "ResourceName": charge.model,
        "ResourceType": "Model",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceSubcategory": "Generative AI",
        "ServiceName": "LLM inference",
        "SkuId": f"{charge.model}/{charge.meter}",
        "SkuMeter": charge.meter,
        "SkuPriceId": f"{charge.model}/{charge.meter}",
        "SubAccountId": charge.tenant or "",
        "SubAccountName": charge.tenant or "",
        "SubAccountType": "Tenant" if charge.tenant else "",
        "Tags": msgspec.json.encode(tags).decode(),
        "x_Credential": charge.credential,
        "x_Model": charge.model,
        "x_Requests": str(charge.requests),
    }


def read_focus(text: str) -> Iterator[BillLine]:
    """Yield the charges of a FOCUS file; raise InvalidBill, which names the line.

    The model is that of `x_Model`, else what `SkuId` or `ResourceName` say before a slash, else `ChargeDescription`.
    """
    rows = csv.DictReader(io.StringIO(text))
    missing = [name for name in _REQUIRED_TO_READ if name not in (rows.fieldnames or ())]
    if missing:
        raise InvalidBill(f"line 1: the columns {', '.join(missing)} are missing")
    for row in rows:
        where = f"line {rows.line_num}"
        if (row.get("ChargeCategory") or "Usage") != "Usage":
            continue
        check_currency(row["BillingCurrency"], where)
        meter = row.get("SkuMeter") or "total"
        tool = _TOOLS.get(meter.lower())
        yield BillLine(
            moment_of(row["ChargePeriodStart"], where),
            moment_of(row["ChargePeriodEnd"], where),
            None if tool else _model_of(row, where),
            tool or meter,
            amount_of(row["BilledCost"], where),
        )


def _model_of(row: dict[str, Any], where: str) -> str:
    for name in ("x_Model", "ResourceName", "SkuId", "ChargeDescription"):
        # An apostrophe keeps spreadsheets from running a name such as `@cf/...` as a formula.
        if value := (row.get(name) or "").strip().removeprefix("'"):
            meter = row.get("SkuMeter") or ""
            return value.removesuffix(f"/{meter}") if meter else value
    raise InvalidBill(f"{where}: nothing names a model (x_Model, ResourceName, SkuId, ChargeDescription)")


def _quantity_text(quantity: float) -> str:
    """Return all digits of a quantity, without an exponent."""
    return str(quantity) if isinstance(quantity, int) else decimal_text(Decimal(repr(quantity)))


def _unit_price(charge: FocusCharge) -> str:
    """Return the price of one unit, to a millionth of a nano-USD."""
    scaled = round(charge.nano_usd * _MILLION / Fraction(charge.quantity))
    whole, fraction = divmod(scaled, 10**15)
    return f"{whole}.{fraction:015d}".rstrip("0").rstrip(".")


def _moment(unix_us: int) -> str:
    return iso_time(unix_us)[:19] + "Z"
