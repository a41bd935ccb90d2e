"""A form for one kind of body: fields, what was typed in them, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from llm_gateway.console.forms.fields import Field
from llm_gateway.core.errors import GatewayError

Body = TypeVar("Body", bound=BaseModel)
_NEEDED = "is needed"


@dataclass(slots=True)
class FilledForm:
    """What stands in the fields of a form, and what is wrong with it."""

    fields: Sequence[Field]
    # Texts by the names of fields.
    texts: dict[str, str]
    # By the names of fields; under "" what is about none of them.
    errors: dict[str, str] = field(default_factory=dict)
    # The names of those secrets that were sent.
    _secrets: frozenset[str] = frozenset()

    @classmethod
    def of(cls, fields: Sequence[Field], shown: Mapping[str, Any]) -> FilledForm:
        """Return the form filled with a row as it is shown."""
        texts = {one.name: one.show(_nested(shown, one.name)) for one in fields}
        return cls(fields, texts)

    @classmethod
    def sent(cls, fields: Sequence[Field], form: Mapping[str, str]) -> FilledForm:
        """Return the form as it was sent, without its secrets: a page never holds one."""
        secrets = frozenset(one.name for one in fields if one.kind == "secret" and form.get(one.name))
        # Browsers end the lines of a text with CRLF.
        texts = {
            one.name: "" if one.name in secrets else form.get(one.name, "").replace("\r\n", "\n")
            for one in fields
        }
        return cls(fields, texts, _secrets=secrets)

    def body(self, model: type[Body], form: Mapping[str, str], *, is_new: bool = False) -> Body | None:
        """Return the body that was sent, or None, with `errors`; what is empty in a new row gets its default."""
        values = self.values(form)
        unread = self.errors.keys() & {one.name for one in self.fields}
        try:
            body = model.model_validate(_given(values) if is_new else values)
        except ValidationError as error:
            for fault in error.errors():
                where = ".".join(str(part) for part in fault["loc"])
                if self._field_of(where) in unread:
                    continue
                is_missing = fault["type"] == "missing" or (fault["loc"] and fault["input"] is None)
                self.add(where, _NEEDED if is_missing else fault["msg"].removeprefix("Value error, "))
        else:
            if not self.errors:
                return body
        self.ask_again()
        return None

    def values(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Return the values of the fields that can be read; what is wrong with the others is in `errors`."""
        values: dict[str, Any] = {}
        for one in self.fields:
            try:
                value = one.read(form.get(one.name))
            except ValueError as error:
                self.errors[one.name] = str(error)
                continue
            if one.required and value is None:
                self.errors[one.name] = _NEEDED
            removed = one.kind == "secret" and one.removal in form
            if removed and value is not None:
                self.errors[one.name] = "type a new one, or have it removed, not both"
            # A secret that is not typed again stays as it is.
            if one.kind == "secret" and value is None and not removed:
                continue
            _nest(values, one, value)
        return values

    def fill_in(self, given: Mapping[str, str]) -> None:
        """Put texts into fields, other than secrets, by the names of the fields."""
        self.texts |= {
            one.name: given[one.name] for one in self.fields if one.name in given and one.kind != "secret"
        }

    def ask_again(self) -> None:
        """Say at each secret that was sent that it has to be typed again: the page does not hold it."""
        for name in self._secrets:
            self.errors.setdefault(name, "Type it again: a page never holds it.")

    def refuse(self, error: GatewayError) -> None:
        """Add why the gateway refused the body."""
        name = self._field_of(error.param or "")
        message = error.message
        if name:
            message = message.removeprefix(f"{error.param}: ")
        self.add(name, message)
        self.ask_again()

    def add(self, where: str, message: str) -> None:
        """Add what is wrong at a place in the body, "limits.requests_per_day" for one."""
        name = self._field_of(where)
        if name or not where:
            rest = where.removeprefix(name).lstrip(".")
            text = f"{rest}: {message}" if rest else message
        else:
            text = f"{where}: {message}"
        self.errors[name] = f"{self.errors[name]}; {text}" if name in self.errors else text

    def _field_of(self, where: str) -> str:
        names = [one.name for one in self.fields if where == one.name or where.startswith(f"{one.name}.")]
        if not names:
            # An error of a whole group stands at its first field.
            names = [one.name for one in self.fields if where and one.name.startswith(f"{where}.")][:1]
        return max(names, key=len, default="")


def _nested(values: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - JSON
    found: Any = values
    for part in name.split("."):
        if isinstance(found, BaseModel):
            found = found.model_dump()
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _nest(values: dict[str, Any], one: Field, value: Any) -> None:  # noqa: ANN401 - JSON
    """Set a value where the field says. In a group only what is given is set; a group of nothing is null."""
    *outer, last = one.name.split(".")
    if not outer:
        values[last] = value
        return
    is_given = value is not None and (one.kind != "flag" or value is not False)
    group = values.setdefault(outer[0], None)
    if not is_given:
        return
    if group is None:
        group = values[outer[0]] = {}
    for part in outer[1:]:
        group = group.setdefault(part, {})
    group[last] = value
