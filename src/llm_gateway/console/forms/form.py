"""A form for one kind of body: fields, what was typed in them, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from llm_gateway.console.forms.fields import Field
from llm_gateway.core.errors import GatewayError

Body = TypeVar("Body", bound=BaseModel)


@dataclass(slots=True)
class FilledForm:
    """What stands in the fields of a form, and what is wrong with it."""

    fields: Sequence[Field]
    # Texts by the names of fields.
    texts: dict[str, str]
    # By the names of fields; under "" what is about none of them.
    errors: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, fields: Sequence[Field], shown: Mapping[str, Any]) -> FilledForm:
        """Return the form filled with a row as it is shown."""
        texts = {one.name: one.show(_nested(shown, one.name)) for one in fields}
        return cls(fields, texts)

    @classmethod
    def sent(cls, fields: Sequence[Field], form: Mapping[str, str]) -> FilledForm:
        """Return the form as it was sent, but for secrets: no page shows them."""
        return cls(
            fields, {one.name: "" if one.kind == "secret" else form.get(one.name, "") for one in fields}
        )

    def body(self, model: type[Body], form: Mapping[str, str]) -> Body | None:
        """Return the body that was sent, or None, with `errors`."""
        values: dict[str, Any] = {}
        empty: dict[str, bool] = {}
        for one in self.fields:
            text = form.get(one.name)
            group, is_nested, _ = one.name.partition(".")
            if is_nested:
                empty[group] = empty.get(group, True) and not (text or "").strip()
            try:
                value = one.read(text)
            except ValueError as error:
                self.errors[one.name] = str(error)
                continue
            # What is not typed again stays as it is.
            if one.kind == "secret" and value is None:
                continue
            _nest(values, one.name, value)
        if self.errors:
            return None
        try:
            # Nothing is given of a nested object: it is null.
            return model.model_validate(
                values | {group: None for group, is_empty in empty.items() if is_empty}
            )
        except ValidationError as error:
            for fault in error.errors():
                where = ".".join(str(part) for part in fault["loc"])
                is_missing = fault["loc"] and fault["input"] is None
                self.add(where, "is needed" if is_missing else fault["msg"].removeprefix("Value error, "))
            return None

    def refuse(self, error: GatewayError) -> None:
        """Add why the gateway refused the body."""
        name = self._field_of(error.param or "")
        message = error.message
        if name:
            message = message.removeprefix(f"{error.param}: ")
        self.add(name, message)

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


def _nest(values: dict[str, Any], name: str, value: Any) -> None:  # noqa: ANN401 - JSON
    *outer, last = name.split(".")
    for part in outer:
        values = values.setdefault(part, {})
    values[last] = value
