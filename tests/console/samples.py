"""What tests type into the form of each resource, and what they expect to be refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_LIMIT: Final = "limits.requests_per_day"


@dataclass(frozen=True)
class Sample:
    """One form. In texts, `{name}` stands for a name that is not taken."""

    # Fields and their texts.
    fields: Mapping[str, str] = field(default_factory=lambda: {"name": "{name}"})
    # A field, what to type in it, and a part of what is said beside it.
    wrong: tuple[str, str, str] = (_LIMIT, "many", "must be a number")
    # A field and its new text.
    change: tuple[str, str] = (_LIMIT, "1000")


# By the noun of the resource. `{name}` is what lists show of a row.
SAMPLES: Final[Mapping[str, Sample]] = {
    "tenants": Sample(),
    "projects": Sample(),
    "credentials": Sample(),
    "providers": Sample(
        fields={
            "provider_key": "{name}",
            "provider_type": "openai",
            "api_base": "http://127.0.0.1:9/v1",
            "api_key": "sk-not-to-be-shown",
            "model_mapping": "{name} = upstream",
        },
        wrong=("weight", "-1", "greater than or equal to 0"),
        change=("weight", "7"),
    ),
    "models": Sample(
        wrong=("fallbacks", "{name}", ""),
        change=("fallbacks", "gpt-4o"),
    ),
    "task-types": Sample(
        fields={"name": "{name}", "models": "gpt-4o"},
        wrong=("models", "", ""),
        change=("models", "gpt-4o\nshared"),
    ),
    "budgets": Sample(
        fields={"name": "{name}", "scope": "all", "amount_usd": "12.5", "period": "month"},
        wrong=("amount_usd", "much", "USD"),
        change=("amount_usd", "20"),
    ),
    "prices": Sample(
        fields={"provider": "{name}", "upstream_model": "{name}", "prices": "input_tokens = 1"},
        wrong=("prices", "input_tokens = much", "USD"),
        change=("prices", "input_tokens = 2"),
    ),
}
