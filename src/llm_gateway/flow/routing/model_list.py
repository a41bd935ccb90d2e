"""The models that a provider lists, compared with names as requests use them."""

from __future__ import annotations

from collections.abc import Iterable

_LATEST = "-latest"
# Fine-tuned models, presets and endpoints of one's own, which the lists leave out.
_NEVER_LISTED = ("ft:", "tunedmodels/", "projects/", "endpoints/", "accounts/", "@", "urn:", "arn:")


class ModelList:
    """The complete list of one provider's models. A name counts as listed when it may mean a listed model."""

    __slots__ = ("_names", "_undated")

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(found for name in names for found in _spellings(name))
        # Every beginning of a listed name that ends before a hyphen or an at sign: aliases leave out the date.
        self._undated = frozenset(
            name[:at] for name in self._names for at, character in enumerate(name) if character in "-@"
        )

    def may_have(self, name: str) -> bool:
        """Return False only if the list rules out that the provider serves a model of this name."""
        if name.lower().startswith(_NEVER_LISTED):
            return True
        for spelling in _spellings(name):
            if spelling in self._names or spelling in self._undated:
                return True
            if spelling.endswith(_LATEST):
                alias = spelling.removesuffix(_LATEST)
                if alias in self._names or alias in self._undated:
                    return True
        return False


def _spellings(name: str) -> tuple[str, ...]:
    """Return a name in lower case, without Google's `models/`, and without a tag or variant (`:latest`, `:free`)."""
    plain = name.lower().removeprefix("models/")
    base, colon, _ = plain.partition(":")
    return (plain, base) if colon and base else (plain,)
