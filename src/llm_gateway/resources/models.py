"""A public model's settings as the admin API takes them and shows them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET
from pydantic import AfterValidator, BaseModel, Field

from llm_gateway.core.config.models import Model, RetryRules, Strategy, Timeouts
from llm_gateway.flow.config.rows.models import ModelUpdate, StoredModel
from llm_gateway.resources.shapes import (
    INT_LIMIT,
    Body,
    CacheBody,
    ModelName,
    RowView,
    Seconds,
    UpdateBody,
    WriteAnswer,
    printable,
    shown_cache,
)
from llm_gateway.resources.times import shown_time

_Weights = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=128), AfterValidator(printable)],
        Annotated[int, Field(ge=0, le=INT_LIMIT)],
    ],
    Field(
        max_length=10_000,
        description="provider_key to weight, in place of the provider's own; 0 drains it for this model.",
    ),
]
_Fallbacks = Annotated[list[ModelName], Field(max_length=100)]


class TimeoutsBody(Body):
    """Seconds; what is null or left out is the gateway's setting."""

    connect: Seconds | None = None
    first_content: Seconds | None = Field(
        None, description="To a unary reply's head, or a stream's first content."
    )
    idle: Seconds | None = Field(None, description="Between two pieces of a stream.")
    total: Seconds | None = Field(None, description="One attempt of a unary call; never a stream's length.")


class RetryBody(Body):
    """What is null or left out is the gateway's setting."""

    max_retries: int | None = Field(
        None, description="Further tries after the first attempt at each provider."
    )
    initial_backoff_ms: int | None = None
    max_backoff_ms: int | None = None
    backoff_factor: Seconds | None = None
    jitter: Seconds | None = Field(None, description="The random part of a delay: 0.1 is a tenth.")
    retry_cut: bool = Field(
        True, description="Try again when the connection is cut after sending, before any byte of the reply."
    )


class ModelChange(UpdateBody):
    """PUT and PATCH: what is left out stays, null resets to the default; objects are replaced as a whole."""

    # A default_factory only says "may be left out": its value is never used.
    name: ModelName = Field(default_factory=str)
    strategy: Strategy | None = None
    weights: _Weights | None = None
    fallbacks: _Fallbacks | None = Field(None, description="Models to try, in order, when this one fails.")
    context_fallbacks: _Fallbacks | None = Field(None, description="... when the request is too long for it.")
    policy_fallbacks: _Fallbacks | None = Field(
        None, description="... when its provider's policy rejects it."
    )
    timeouts: TimeoutsBody | None = None
    retry: RetryBody | None = None
    affinity: Annotated[str, Field(min_length=1, max_length=256), AfterValidator(printable)] | None = Field(
        None, description="user, prompt_cache_key or header:<name>: equal ones prefer the same provider."
    )
    cache: CacheBody | None = Field(None, description="Caching of replies; null = none.")

    def update(self) -> ModelUpdate:
        return ModelUpdate(**{name: self._value(name, value) for name, value in self.given().items()})

    def _value(self, name: str, value: object) -> Any:  # noqa: ANN401 - any field's value
        if value is None:
            return getattr(_DEFAULTS, name)
        if isinstance(value, list):
            return tuple(value)
        if isinstance(value, CacheBody):
            return value.rules()
        if isinstance(value, TimeoutsBody):
            return Timeouts(**value.model_dump())
        if isinstance(value, RetryBody):
            return RetryRules(**value.model_dump())
        return value


_DEFAULTS = Model(id=0, name="")


class NewModel(ModelChange):
    """POST."""

    name: ModelName


class ModelView(RowView):
    """A model's settings as lists show them; null where what is stored cannot be read."""

    id: int
    name: str
    strategy: str
    weights: dict[str, int] | None
    fallbacks: list[str] | None
    context_fallbacks: list[str] | None
    policy_fallbacks: list[str] | None
    timeouts: TimeoutsBody | None
    retry: RetryBody | None
    affinity: str | None
    cache: CacheBody | None
    created_at: str | None = Field(description="null: what is stored cannot be read.")
    updated_at: str | None
    warnings: list[str] = Field(
        description="Settings that have no effect now, because no enabled provider matches them."
    )


class WrittenModel(ModelView, WriteAnswer):
    """A model's settings after a write."""


class ModelPage(BaseModel):
    """One page of models, by id."""

    data: list[ModelView]
    next_cursor: str | None
    unconfigured: list[str] = Field(
        default=[],
        description="With `all`: models that providers name and that have no settings of their own.",
    )


def shown(row: StoredModel, warnings: list[str]) -> dict[str, Any]:
    """Return a model's stored settings as an admin sees them."""
    stored = msgspec.structs.asdict(row)
    values = {name: None if value is UNSET else value for name, value in stored.items()}
    lists = {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
    timeouts, retry = values["timeouts"], values["retry"]
    return {
        **values,
        **lists,
        "timeouts": timeouts and TimeoutsBody(**msgspec.structs.asdict(timeouts)),
        "retry": retry and RetryBody(**msgspec.structs.asdict(retry)),
        "cache": shown_cache(row.cache),
        "created_at": shown_time(row.created_at),
        "updated_at": shown_time(row.updated_at),
        "warnings": warnings,
    }
