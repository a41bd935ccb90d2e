"""Whatever a client of dgen-ping's API sends, its body is read or refused, and nothing else happens."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_gateway.core.errors import BadRequest, Unauthenticated
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.dialect import PresentedKey
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.json_lines import MAX_LINE, to_line
from llm_gateway.surfaces.ping.options import PingOptions
from llm_gateway.surfaces.ping.requests import CHAT_FIELDS, read_chat, read_completion
from llm_gateway.surfaces.ping.telemetry import EVENT_FIELDS, METADATA_FIELDS, EventOrigin, read_event
from llm_gateway.surfaces.ping.tokens import TokenSigner, looks_like_token
from tests.fakes.incoming_calls import IncomingCallOf

OPTIONS = PingOptions()
CALL = IncomingCallOf(PresentedKey("k"))
ORIGIN = EventOrigin("an-id", 1_750_000_000_000_000, "c", None, "127.0.0.1")
SIGNER = TokenSigner(Secret("0" * 32), 60, SystemClock())

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["user", "x" * 300, "\ud800", "\0"])
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
messages = st.lists(st.fixed_dictionaries({}, optional={"role": scalars, "content": values}), max_size=3)


def bodies(fields: tuple[str, ...], **known: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    objects = st.fixed_dictionaries({}, optional={name: known.get(name, values) for name in fields})
    return st.binary() | (objects | values).map(_encoded)


def _encoded(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        # Half of a surrogate pair, as some clients escape it.
        return b'{"prompt": "\\ud800", "event_type": "\\ud800"}'


@pytest.mark.parametrize("read", [read_completion, read_chat])
@given(body=bodies(CHAT_FIELDS, messages=messages, prompt=st.text()))
@example(body=b'{"prompt": "a", "temperature": 1e400}')
@example(body=b'{"prompt": "a", "max_tokens": 1e19}')
def test_a_request_is_read_or_refused(read: Any, body: bytes) -> None:
    try:
        request, stated = read(OPTIONS, body, CALL)
    except BadRequest:
        return
    assert request.model
    assert 0 <= msgspec.json.decode(request.fields["temperature"]) <= 2
    assert msgspec.json.decode(request.fields["messages"])
    assert stated.soeid
    assert stated.project


@given(
    body=bodies(
        EVENT_FIELDS,
        event_type=st.text(min_size=1),
        metadata=st.fixed_dictionaries({}, optional=dict.fromkeys((*METADATA_FIELDS, "own"), values)),
    )
)
def test_an_event_is_read_or_refused_and_fits_into_a_line(body: bytes) -> None:
    try:
        event = read_event(body, ORIGIN)
    except BadRequest:
        return
    line = to_line(event)
    assert len(line) < MAX_LINE
    assert line.count(b"\n") == 1


@given(text=st.text() | st.from_regex(r"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*", fullmatch=True))
def test_a_text_that_is_no_token_is_refused(text: str) -> None:
    looks_like_token(text)
    with pytest.raises(Unauthenticated):
        SIGNER.claims(text)
