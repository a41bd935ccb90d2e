"""The dashboards, in the order in which people read them."""

from __future__ import annotations

from typing import Final

from monitoring.dashboards.gateway import GATEWAY
from monitoring.dashboards.money import MONEY
from monitoring.dashboards.overview import OVERVIEW
from monitoring.dashboards.providers import PROVIDERS

DASHBOARDS: Final = (OVERVIEW, PROVIDERS, MONEY, GATEWAY)
