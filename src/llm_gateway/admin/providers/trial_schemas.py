"""What the admin API takes and says when a provider is tried out."""

from __future__ import annotations

from pydantic import BaseModel, Field

from llm_gateway.flow.ports.listeners import ProviderTest
from llm_gateway.flow.provider_checks.trials import OfferedModel
from llm_gateway.resources.shapes import Body, ModelName


class TrialRequest(Body):
    """What to ask for."""

    model: ModelName | None = Field(
        default=None,
        description="A public or upstream name; left out: the first mapped, else the first listed.",
    )


class TrialUsage(BaseModel):
    """Tokens as the provider counted them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TrialOutcome(BaseModel):
    """What one tiny request led to. A failed test is an answer too: its `ok` is false."""

    ok: bool
    provider: str
    model: str | None = Field(description="The provider's name for it; null when none could be chosen.")
    status: int | None = Field(description="The provider's; null when no reply came.")
    latency_ms: float
    text: str | None = Field(description="The beginning of what the model said.")
    usage: TrialUsage | None
    error: str | None = Field(description="What went wrong, in the provider's words where it had some.")
    advice: str | None = Field(description="What to do about it.")


class OfferedModelView(BaseModel):
    """A model that the provider lists."""

    id: str
    served_as: list[str] = Field(description="The public names, or globs, that lead to it; none: not served.")


class OfferedModels(BaseModel):
    """The provider's own list, in its order."""

    data: list[OfferedModelView]


def outcome_of(test: ProviderTest) -> TrialOutcome:
    """Return what an admin sees of a test."""
    values = {name: getattr(test, name) for name in test.__struct_fields__}
    usage = test.usage
    if usage is not None:
        values["usage"] = TrialUsage(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            total_tokens=usage.total_tokens,
        )
    return TrialOutcome(**values)


def offered(models: list[OfferedModel]) -> OfferedModels:
    """Return what an admin sees of a list."""
    return OfferedModels(
        data=[OfferedModelView(id=model.name, served_as=list(model.served_as)) for model in models]
    )
