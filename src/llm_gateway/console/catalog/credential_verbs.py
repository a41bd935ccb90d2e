"""What is done to credentials besides changing their fields: rotate, disable, enable, revoke."""

from __future__ import annotations

from pydantic import field_validator

from llm_gateway.console.catalog.credentials import PAGES
from llm_gateway.console.editing.verbs import Verb
from llm_gateway.console.forms.fields import Field
from llm_gateway.console.services import ConsoleServices
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.editor import Edited, EditOptions
from llm_gateway.flow.config.rows.credentials import DEFAULT_OVERLAP, StoredCredential
from llm_gateway.resources.credentials import Rotation


class _Rotation(Rotation):
    """A rotation whose overlap is chosen from a list."""

    @field_validator("overlap", mode="before")
    @classmethod
    def _read_number(cls, value: object) -> object:
        if isinstance(value, str) and value.isdecimal() and len(value) <= _MOST_DIGITS:
            return int(value)
        return value


_MOST_DIGITS = 9
_OVERLAPS = (
    ("0", "Not at all"),
    ("600", "For 10 minutes"),
    ("3600", "For an hour"),
    (str(DEFAULT_OVERLAP), "For a day"),
    ("604800", "For a week"),
    ("2592000", "For 30 days"),
)


async def _rotate(
    services: ConsoleServices, row: StoredCredential, body: Rotation, options: EditOptions
) -> Edited[StoredCredential]:
    key = None if body.key is None else Secret(body.key.get_secret_value())
    return await services.editor.rotate_credential(row.id, options, key=key, overlap=body.overlap)


async def _revoke(
    services: ConsoleServices, row: StoredCredential, _body: object, options: EditOptions
) -> Edited[StoredCredential]:
    return await services.editor.revoke_credential(row.id, options)


async def _enable(
    services: ConsoleServices, row: StoredCredential, _body: object, options: EditOptions
) -> Edited[StoredCredential]:
    return await services.editor.set_enabled(row.id, options, is_enabled=True)


async def _disable(
    services: ConsoleServices, row: StoredCredential, _body: object, options: EditOptions
) -> Edited[StoredCredential]:
    return await services.editor.set_enabled(row.id, options, is_enabled=False)


_WHAT_REVOKING_DOES = (
    "Its keys are destroyed: requests with them are refused with 401 from now on. This cannot be undone.",
    "Requests in flight finish.",
    "The credential stays in the list, and its usage rows stay. To stop it for a while only, disable it.",
)


def _what_rotating_does(row: StoredCredential, now: int) -> tuple[str, ...]:
    says = (
        "The credential gets another key, which is shown once. The present one works on for as long as you choose, "
        "so that clients can change over."
    )
    previous = row.previous_key_expires_at
    if isinstance(previous, int) and previous > now:
        return says, "The key before the present one still works; it stops working at once."
    return (says,)


VERBS = (
    Verb(
        pages=PAGES,
        name="rotate",
        title="Rotate the key",
        done="rotated",
        says=lambda services, row: _what_rotating_does(row, services.clock.unix_us()),
        fields=(
            Field(name="overlap", label="The present key works on", kind="choice", options=_OVERLAPS),
            Field(
                name="key",
                label="New key",
                kind="secret",
                placeholder="generated",
                hint="Left empty: one is generated.",
            ),
        ),
        defaults={"overlap": DEFAULT_OVERLAP},
        body=_Rotation,
        run=_rotate,
    ),
    Verb(
        pages=PAGES,
        name="disable",
        title="Disable",
        done="disabled",
        is_dangerous=True,
        says=lambda _services, _row: (
            "Requests with its keys are refused with 401 until it is enabled again. Requests in flight finish.",
        ),
        run=_disable,
    ),
    Verb(
        pages=PAGES,
        name="enable",
        title="Enable",
        done="enabled",
        says=lambda _services, _row: ("Its keys are accepted again.",),
        run=_enable,
    ),
    Verb(
        pages=PAGES,
        name="revoke",
        title="Revoke for good",
        done="revoked",
        is_dangerous=True,
        says=lambda _services, _row: _WHAT_REVOKING_DOES,
        run=_revoke,
    ),
)

ROUTES = [route for verb in VERBS for route in verb.routes()]
