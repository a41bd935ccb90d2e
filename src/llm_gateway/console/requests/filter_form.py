"""The form that filters the list of requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

from llm_gateway.console.forms.fields import Field
from llm_gateway.console.forms.form import FilledForm
from llm_gateway.core.errors import Unprocessable
from llm_gateway.core.ledger.records import Outcome
from llm_gateway.flow.ports.usage import UsageFilter
from llm_gateway.resources.filters import storable, time_of

# What a query may hold besides the fields.
_PAGING: Final = frozenset({"cursor", "limit"})
_LONGEST: Final = 300
_OUTCOMES: Final = {
    "": "Any",
    "ok": "OK",
    "error": "Error",
    "aborted": "Aborted by the client",
    "interrupted": "Interrupted",
    "rejected": "Rejected",
}
_TIME: Final = "2026-01-31T12:00"
_MORE: Final = "More filters"
_ENDS: Final = "When requests ended"

FIELDS: Final = (
    Field(name="model", label="Model", suggestions="known-models"),
    Field(name="provider", label="Provider", suggestions="known-providers"),
    Field(name="credential", label="Credential", suggestions="known-credentials"),
    Field(name="outcome", label="Outcome", kind="choice", options=tuple(_OUTCOMES.items())),
    Field(name="since", label="From (UTC)", placeholder=_TIME),
    Field(name="until", label="Before (UTC)", placeholder=_TIME),
    Field(name="request_id", label="Request id", group=_MORE),
    Field(name="tenant", label="Tenant", group=_MORE),
    Field(name="project", label="Project", group=_MORE),
    Field(name="agent", label="Agent", group=_MORE),
    Field(name="end_user", label="End user", group=_MORE),
    Field(name="channel", label="Channel", group=_MORE),
    Field(name="soeid", label="SOEID", group=_MORE),
    Field(name="finished_since", label="Ended from (UTC)", placeholder=_TIME, group=_ENDS),
    Field(name="finished_until", label="Ended before (UTC)", placeholder=_TIME, group=_ENDS),
)


def read_filter(query: Mapping[str, str]) -> tuple[FilledForm, UsageFilter | None]:
    """Return the form as it was sent, and the rows that it means; None, with errors in the form, if it is wrong."""
    form = FilledForm.sent(FIELDS, query)
    values: dict[str, Any] = {}
    for field in FIELDS:
        text = query.get(field.name, "").strip() or None
        try:
            values[field.name] = _READERS.get(field.name, _text)(field.name, text)
        except Unprocessable as error:
            form.add(field.name, error.message.removeprefix(field.name).lstrip(": "))
    for name in query.keys() - form.texts.keys() - _PAGING:
        form.add("", f"There is no filter {name[:100]!r}.")
    return form, None if form.errors else UsageFilter(**values)


def filter_query(form: FilledForm) -> dict[str, str]:
    """Return the query that leads to the same rows."""
    return {name: text for name, text in form.texts.items() if text}


def _text(name: str, text: str | None) -> str | None:
    if text is not None and len(text) > _LONGEST:
        raise Unprocessable(f"{name}: must be at most {_LONGEST} characters long", param=name)
    return storable(name, text)


def _outcome(name: str, text: str | None) -> str | None:
    if text is not None and text not in get_args(Outcome):
        raise Unprocessable(f"{name}: must be one of {', '.join(get_args(Outcome))}", param=name)
    return text


_Reader = Callable[[str, str | None], Any]
_READERS: Final[Mapping[str, _Reader]] = {
    "outcome": _outcome,
    **dict.fromkeys(("since", "until", "finished_since", "finished_until"), time_of),
}
