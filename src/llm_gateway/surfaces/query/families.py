"""Which public models stand for a family, such as `openai`, and which families are best at a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from llm_gateway.core.config.deployments import EnabledProvider
from llm_gateway.core.config.model_patterns import ModelPatterns
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.model_families import FAMILIES, ModelFamily

# The families of each task type that the catalog has no row for, best first.
DEFAULT_TASK: Final = "text_generation"
DEFAULT_TASKS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        DEFAULT_TASK: ("openai", "claude", "gemini", "mistral", "deepseek"),
        "summarization": ("claude", "openai", "gemini", "mistral", "deepseek"),
        "sentiment_analysis": ("gemini", "openai", "claude", "mistral", "deepseek"),
        "question_answering": ("mistral", "openai", "claude", "gemini", "deepseek"),
        "other": ("openai", "claude", "gemini", "mistral", "deepseek"),
    }
)

# Words in the names of models that do not chat.
_OTHER_MODELS: Final = ("embed", "whisper", "tts", "dall-e", "moderation", "image", "transcribe")
_PATTERNS: Final = {name: ModelPatterns(family.patterns) for name, family in FAMILIES.items()}


def is_of_family(provider: EnabledProvider, family: ModelFamily) -> bool:
    """Tell whether a provider serves models of the family: its key says so, or else its kind."""
    key, kind = provider.provider.provider_key, provider.provider.provider_type
    return key == family.name or (key not in FAMILIES and kind in {family.kind, *family.other_kinds})


def family_of_model(model: str) -> str | None:
    """Return the family whose models have names like this one, None if it is none's."""
    return next((name for name, patterns in _PATTERNS.items() if model in patterns), None)


class FamilyIndex:
    """The public models that may stand for each family in one snapshot, each family looked up once."""

    __slots__ = ("_models", "snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._models: dict[str, tuple[str, ...]] = {}

    def models(self, family: ModelFamily) -> tuple[str, ...]:
        """Return the models, best first; some may have no deployment."""
        models = self._models.get(family.name)
        if models is None:
            found = dict.fromkeys(_models_of_family(self.snapshot, family))
            models = self._models[family.name] = tuple(found)
        return models


def _models_of_family(snapshot: Snapshot, family: ModelFamily) -> Iterator[str]:
    if snapshot.names(family.name):
        yield family.name
    own = [provider for provider in snapshot.providers if is_of_family(provider, family)]
    default = family.default_model
    is_own = any(provider.upstream_model(default) is not None for provider in own)
    if is_own or snapshot.names(default):
        yield default
    for provider in own:
        for model, upstream in provider.names.items():
            # Many servers speak OpenAI's API, whoever made their models.
            if is_chat_model(model) and family_of_model(upstream) in {None, family.name}:
                yield model
    if not own and snapshot.serves(default):
        # A provider that serves any name.
        yield default


def model_of_version(snapshot: Snapshot, family: ModelFamily | None, version: str) -> str:
    """Return the public model that a `model_version` means: its own name, or the one under which it is served."""
    own = [one for one in snapshot.providers if family is None or is_of_family(one, family)]
    if snapshot.names(version) or any(provider.upstream_model(version) is not None for provider in own):
        return version
    for provider in own:
        for public, upstream in provider.names.items():
            if upstream == version:
                return public
    return version


def is_chat_model(model: str) -> bool:
    """Tell whether the name of a model may be that of one that chats."""
    name = model.lower()
    return not any(word in name for word in _OTHER_MODELS)
