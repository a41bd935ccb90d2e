"""Stored settings of public models, and what an admin may set on them."""

from __future__ import annotations

from typing import ClassVar

from msgspec import UNSET, UnsetType

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.models import RetryRules, Timeouts
from llm_gateway.flow.config.rows.base import RowUpdate, StoredRow


class StoredModel(StoredRow, frozen=True, kw_only=True):
    """A model's settings as they are stored."""

    resource: ClassVar[str] = "model"

    name: str
    strategy: str
    weights: dict[str, int] | UnsetType
    fallbacks: tuple[str, ...] | UnsetType
    context_fallbacks: tuple[str, ...] | UnsetType
    policy_fallbacks: tuple[str, ...] | UnsetType
    timeouts: Timeouts | UnsetType
    retry: RetryRules | UnsetType
    affinity: str | None
    cache: CacheRules | UnsetType | None

    @property
    def name_or_key(self) -> str:
        return self.name


class ModelUpdate(RowUpdate[StoredModel], frozen=True, kw_only=True):
    """What an admin may set on a public model."""

    stored: ClassVar[type[StoredRow]] = StoredModel

    name: str | UnsetType = UNSET
    strategy: str | UnsetType = UNSET
    weights: dict[str, int] | UnsetType = UNSET
    fallbacks: tuple[str, ...] | UnsetType = UNSET
    context_fallbacks: tuple[str, ...] | UnsetType = UNSET
    policy_fallbacks: tuple[str, ...] | UnsetType = UNSET
    timeouts: Timeouts | UnsetType = UNSET
    retry: RetryRules | UnsetType = UNSET
    affinity: str | UnsetType | None = UNSET
    cache: CacheRules | UnsetType | None = UNSET
