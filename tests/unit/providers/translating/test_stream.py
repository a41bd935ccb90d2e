"""How the base of the translating readers splits, samples and ends a stream."""

from __future__ import annotations

import pytest

from llm_gateway.providers.base import UpstreamErrorBody
from llm_gateway.providers.translating.stream import TranslatedStream
from llm_gateway.wire.errors import BadReply
from tests.fakes.anthropic_replies import ASKED


class Upper(TranslatedStream):
    """A dialect in upper case, with "bad" as an unreadable, "no" as a failing and "end" as the last event."""

    def take(self, data: bytes) -> bytes:
        if data == b'"bad"':
            raise BadReply
        if data == b'"no"':
            self.refusal = UpstreamErrorBody(message="No.")
            return b""
        self.content_seen = True
        self.done = self.finished = data == b'"end"'
        return data.upper()

    def take_whole(self, body: bytes) -> bytes:
        return self.take(body)


def reader(limit: int = 1000) -> Upper:
    return Upper(ASKED, event_limit=limit)


def test_events_are_translated_when_complete() -> None:
    stream = reader()
    assert stream.feed(b'data: "a"\n\ndata: "b') == b'"A"'
    assert stream.feed(b'"\n\n') == b'"B"'


def test_comments_are_left_out_and_bare_json_is_translated() -> None:
    assert reader().feed(b': ping\n\n{"a": 1}\n\nevent: x\n\n:\n\n') == b'{"A": 1}'


@pytest.mark.parametrize("last", [b'"end"', b'"no"'])
def test_nothing_follows_the_last_event_or_an_error(last: bytes) -> None:
    stream = reader()
    assert b'"A"' not in stream.feed(b"data: " + last + b'\n\ndata: "a"\n\n')
    assert stream.feed(b'data: "a"\n\n') == b""


def test_an_unreadable_event_raises_only_before_the_content() -> None:
    with pytest.raises(BadReply):
        reader().feed(b'data: "bad"\n\n')
    stream = reader()
    assert stream.feed(b'data: "a"\n\ndata: "bad"\n\ndata: "b"\n\n') == b'"A"'
    assert stream.refusal is not None
    assert stream.refusal.code == "upstream_error"


def test_an_event_over_the_limit_is_a_bad_reply() -> None:
    with pytest.raises(BadReply):
        reader(10).feed(b"data: 0123456789")


@pytest.mark.parametrize(("rest", "out"), [(b'data: "a"', b'"A"'), (b'data: "a', b""), (b"", b"")])
def test_a_last_event_without_a_blank_line_counts_if_it_is_complete(rest: bytes, out: bytes) -> None:
    stream = reader()
    stream.feed(rest)
    assert stream.end() == out


def test_a_whole_reply_ends_the_stream_unless_it_is_an_error() -> None:
    stream = reader()
    assert stream.whole(b'"a"') == b'"A"'
    assert (stream.content_seen, stream.finished, stream.done) == (True, True, True)
    stream = reader()
    assert stream.whole(b'"no"') == b""
    assert (stream.content_seen, stream.finished, stream.done) == (False, False, False)


def test_the_sample_holds_what_was_relayed() -> None:
    stream = reader()
    out = stream.feed(b'data: "a"\n\n')
    assert stream.sample().blocks == (out,)
    assert stream.sample().total_bytes == len(out)


def test_noise_that_is_not_json_is_left_out() -> None:
    class Strict(Upper):
        """Takes JSON alone."""

        def take(self, data: bytes) -> bytes:
            if not data.startswith(b'"'):
                raise BadReply
            return super().take(data)

    stream = Strict(ASKED, event_limit=1000)
    assert stream.feed(b'data: [PING]\n\ndata: "a"\n\ndata: keep-alive\n\ndata: "b"\n\n') == b'"A""B"'
    assert stream.refusal is None
