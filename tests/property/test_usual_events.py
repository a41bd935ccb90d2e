"""Streams whose usual chunks are recognised, and the same streams parsed: client and meter get the same."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import event as note
from hypothesis import example, given
from hypothesis import strategies as st

from llm_gateway.core.ledger.usage import Usage
from llm_gateway.providers.openai.chunks import decode_billed_chunk, decode_chunk, has_content
from llm_gateway.providers.openai.event_stream import OpenAIReplyStream
from llm_gateway.providers.openai.usual_event import (
    CONTENT,
    DONE,
    EMPTY,
    FINISH,
    KIND_BITS,
    KIND_MASK,
    USAGE,
    Counts,
    usual_end,
    usual_event,
)
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.openai_chat.usage import usage_from_wire
from tests.fakes.compiled_parts import Way, need_compiled, reading_events

# JSON, and what is nearly JSON.
VALUES = st.sampled_from(
    [
        b"null", b"true", b"false", b"0", b"1", b"7", b"10", b"-0", b"01", b"1.0", b"1e3", b"1e999", b"nul", b"NaN",
        b'""', b'"stop"', b'"length"', b'"tool_calls"', b'"s\\u0074op"', b'"error"', b'"null"', b'"token"', b'" "',
        b'"finish_reason"', b'"a\\"b"', b'"\\ud83d\\ude00"', b'"\\ud83d"', b'"\\x"', b'"\\u12"', b'"\x1f"', b'"\x00"',
        b'"\xc3\xa9"', b'"\xc3"', b'"\xed\xa0\x80"', b'"\xff"', b'"\n"', b'"\r"', b'"[DONE]"', b'"usage":{',
        b"[]", b"[ ]", b"{}", b"{ }", b"[0]", b'{"a":1}', b"[[]]", b"[1,]", b"{1:2}", b"[", b"{", b'"', b"\\",
        b'{"message":"bad"}', b'{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}',
        b'[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]',
    ]
)  # fmt: skip
NAMES = st.sampled_from(
    [
        b'"id"', b'"object"', b'"created"', b'"model"', b'"service_tier"', b'"usage"', b'"x_groq"', b'"error"',
        b'"choices"', b'"delta"', b'"index"', b'"finish_reason"', b'"logprobs"', b'"message"', b'"text"', b'"role"',
        b'"content"', b'"refusal"', b'"tool_calls"', b'"f\\u0069nish_reason"', b'"\xc3\xa9"', b'"\xff"', b'""', b"id",
    ]
)  # fmt: skip
BLANKS = st.sampled_from([b""] * 12 + [b" "] * 3 + [b"  ", b"\t", b"\n", b"\r", b"\x0b"])
COLONS = st.sampled_from([b":"] * 12 + [b": "] * 4 + [b" :", b" : ", b":  ", b":\t", b"", b":\n"])
Fields = list[tuple[bytes, bytes]]


@st.composite
def objects(draw: st.DrawFn, usual: Fields) -> bytes:
    """Write an object with most of the usual fields, and perhaps some others, in any order."""
    fields = [field for field in usual if draw(st.integers(0, 9))]
    fields += draw(st.lists(st.tuples(NAMES, VALUES), max_size=draw(st.sampled_from([0, 0, 0, 1, 2]))))
    if draw(st.booleans()):
        fields = draw(st.permutations(fields))
    colon = draw(COLONS)
    written = [name + colon + value for name, value in fields]
    comma = draw(BLANKS) + b"," + draw(BLANKS)
    return b"{" + draw(BLANKS) + comma.join(written) + draw(BLANKS) + b"}"


@st.composite
def chunks(draw: st.DrawFn) -> bytes:
    text = draw(st.one_of(st.sampled_from([b'" token"', b'""', b"null"]), VALUES))
    delta = draw(objects([(b'"role"', b'"assistant"'), (b'"content"', text)]))
    reason = draw(st.one_of(st.sampled_from([b"null", b"null", b'"stop"']), VALUES))
    index = draw(st.sampled_from([b"0", b"0", b"0", b"1", b"2", b"10", b"-1"]))
    usual = [(b'"index"', index), (b'"delta"', delta), (b'"logprobs"', b"null"), (b'"finish_reason"', reason)]
    choices = [draw(objects(usual)) for _ in range(draw(st.sampled_from([1, 1, 1, 1, 0, 2])))]
    more = draw(st.sampled_from([[], [(b'"usage"', b"null")], [(b'"service_tier"', b'"default"')]]))
    return draw(
        objects(
            [
                (b'"id"', b'"chatcmpl"'),
                (b'"created"', b"1760000000"),
                (b'"choices"', b"[" + b",".join(choices) + b"]"),
                *more,
            ]
        )
    )


USAGE_CHUNK = b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}'
COUNTS = st.sampled_from(
    [b"0", b"1", b"2", b"3", b"5", b"1000000000", b"10000000000", b"01", b"-1", b"1.0", b"1e0"]
)


def joined(fields: Fields) -> bytes:
    return b"{" + b",".join(name + b":" + value for name, value in fields) + b"}"


@st.composite
def usage_chunks(draw: st.DrawFn) -> bytes:
    """Write a chunk with a usage: mostly a plausible one, and no choice."""
    prompt, completion = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    is_odd = draw(st.booleans())

    def details(part: bytes, *others: bytes) -> bytes:
        written = [(part, b"%d" % draw(st.integers(0, 5)))]
        written += [(name, draw(st.one_of(COUNTS, VALUES)) if is_odd else b"0") for name in others]
        return draw(st.sampled_from([b"null", b"{}", draw(objects(written)), joined(written)]))

    counts = {
        b'"prompt_tokens"': b"%d" % prompt,
        b'"completion_tokens"': b"%d" % completion,
        b'"total_tokens"': b"%d" % (prompt + completion),
        b'"prompt_tokens_details"': details(
            b'"cached_tokens"', b'"audio_tokens"', b'"image_tokens"', b'"cache_write_tokens"', b'"x"'
        ),
        b'"completion_tokens_details"': details(
            b'"reasoning_tokens"', b'"audio_tokens"', b'"accepted_prediction_tokens"'
        ),
    }
    if not is_odd:
        usage = joined(list(counts.items()))
        return joined([(b'"id"', b'"c"'), (b'"choices"', b"[]"), (b'"usage"', usage)])
    counts[b'"prompt_cache_hit_tokens"'] = draw(st.sampled_from([b"null", b"null", b"1"]))
    for name in draw(st.sets(st.sampled_from(sorted(counts)), max_size=draw(st.sampled_from([0, 0, 3])))):
        counts[name] = draw(COUNTS)
    usage = draw(objects(list(counts.items())))
    more = draw(
        st.sampled_from([(b'"service_tier"', tier) for tier in (b"null", b'"default"', b'"flex"')])
        | st.tuples(NAMES, VALUES)
    )
    choices = draw(st.sampled_from([b"[]", b"[]", b"[]", b"[ ]", b"null", b'[{"index":0}]']))
    return draw(objects([(b'"id"', b'"c"'), (b'"choices"', choices), (b'"usage"', usage), more]))


PLAIN_CHUNK = b'{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}'
STARTS = st.sampled_from([b"data: "] * 12 + [b"data:", b"data:  ", b"", b"event: error\ndata: ", b": "])
ENDS = st.sampled_from([b"\n\n"] * 12 + [b"\r\n\r\n", b"\r\r", b"\n", b" \n\n", b"\r\n\n", b"\n\n\n", b""])


@st.composite
def events(draw: st.DrawFn) -> bytes:
    data = draw(
        st.one_of(
            chunks(),
            chunks(),
            usage_chunks(),
            st.sampled_from([PLAIN_CHUNK, USAGE_CHUNK, b"[DONE]", b" [DONE]", b"[DONE", b"{}", b"", b"ping"]),
        )
    )
    if not draw(st.integers(0, 9)):
        data = data[: draw(st.integers(0, len(data)))]
    return draw(STARTS) + data + draw(ENDS)


@st.composite
def pieces(draw: st.DrawFn, sent: bytes) -> list[bytes]:
    places = sorted(draw(st.sets(st.integers(0, len(sent)), max_size=6)))
    return [sent[a:b] for a, b in itertools.pairwise([0, *places, len(sent)]) if a < b]


def read(way: Way, sent: list[bytes], **wanted: Any) -> list[object]:
    """Return all that a reader shows, and what it has learnt, after each piece."""
    reader = OpenAIReplyStream(event_limit=1 << 20, **wanted)
    shown: list[object] = []
    with reading_events(way):
        for piece in [*sent, None]:
            try:
                shown.append(reader.end() if piece is None else reader.feed(piece))
            except BadReply as bad:
                return [*shown, str(bad)]
            shown += [reader.content_seen, reader.finished, reader.done, reader.usage, reader.refusal]
            shown += [reader.plain_event_end(), reader.sample(), reader._usual_spacing, reader._quiet_tail]
            if reader.refusal is not None or reader.done:
                # Nobody reads on.
                break
    return shown


@given(
    st.data(), st.lists(events(), max_size=8), st.integers(1, 2), st.booleans(), st.booleans(), st.booleans()
)
def test_a_stream_is_the_same_in_both_ways(
    data: st.DataObject, sent: list[bytes], choices: int, hide_usage: bool, has_cost: bool, asks: bool
) -> None:
    need_compiled()
    if data.draw(st.booleans()):
        # As most streams begin and end.
        begin = data.draw(st.sampled_from([[], [PLAIN_CHUNK]]))
        end = [PLAIN_CHUNK.replace(b"null", b'"stop"'), data.draw(usage_chunks()), b"[DONE]"]
        end = end[data.draw(st.integers(0, 2)) :]
        written = [b"data: " + each + b"\n\n" for each in [*begin, *end]]
        sent = [*written[: len(begin)], *sent, *written[len(begin) :]]
        if data.draw(st.booleans()):
            sent[len(sent) - len(end) :] = [b"".join(sent[len(sent) - len(end) :])]
    cut = data.draw(st.one_of(st.just(sent), pieces(b"".join(sent))))
    wanted = {
        "choices": choices,
        "hide_usage": hide_usage,
        "read_cost": (lambda _: None) if has_cost else None,
        "asked": ("service_tier",) if asks else (),
    }
    assert read("compiled", cut, **wanted) == read("python", cut, **wanted)


@given(st.binary(max_size=8), events(), st.binary(max_size=8))
@example(b"", b'data: {"usage":{}}\n\n', b"")
@example(b"", b'data: {"choices":[{"delta":{"content":1e999}}]}\n\n', b"")
@example(b"", b'data: {"choices":[{"delta":{"content":"a","content":""}}]}\n\n', b"")
@example(b"", b'data: {"choices":[{"delta":{}}],\n\n"usage":{}}\n\n', b"")
@example(b"", b'data: {"choices":[{"finish_reason" :"stop"}]}\n\n', b"")
def test_what_is_usual_is_what_the_parser_reads(before: bytes, event: bytes, after: bytes) -> None:
    need_compiled()
    block, start = before + event + after, len(before)
    found = usual_event(block, start)
    kind, end = found & KIND_MASK, found >> KIND_BITS
    if not kind:
        assert found == 0
        return
    line = block[start + len(b"data: ") : end - 2]
    assert block[start:end] == b"data: " + line + b"\n\n"
    assert b"\n" not in line
    assert b"\r" not in line
    if kind == DONE:
        assert line == b"[DONE]"
        return
    assert line.startswith(b"{")
    if kind == USAGE:
        assert b'"usage":{' in line or b'"usage": {' in line
    if kind < EMPTY:
        return
    assert decode_billed_chunk(line) is not None
    chunk = decode_chunk(line)
    assert chunk.usage is chunk.x_groq is chunk.error is None
    assert chunk.choices is not None
    [choice] = chunk.choices
    assert choice.usage is None
    assert has_content(choice) == (kind in (CONTENT, FINISH))
    assert (choice.finish_reason is not None) == (kind == FINISH)
    if kind == FINISH:
        assert choice.index == 0
        # Such an event is worth a look, where it is not parsed.
        assert b'finish_reason":"' in line or b'finish_reason": "' in line
    # Unlike msgspec, this reads numbers of any size, which a decoder of chunks skips.
    assert isinstance(json.loads(line), dict)


def counts_of(event: bytes, before: bytes = b"") -> Counts | None:
    """Return the counts that are found in one event."""
    found = usual_end(before + event, len(before))
    assert found is None or found[:4] == (False, len(before), len(before + event), False)
    return None if found is None else found[4]


@given(usage_chunks())
@example(USAGE_CHUNK)
@example(USAGE_CHUNK.replace(b":3}", b':3,"prompt_tokens_details":{"cached_tokens":1}}'))
@example(USAGE_CHUNK.replace(b":3}", b':3,"completion_tokens_details":{"reasoning_tokens":2}}'))
@example(USAGE_CHUNK.replace(b":3}", b':3,"prompt_tokens_details":{"cached_tokens":2}}'))
@example(USAGE_CHUNK.replace(b":3}", b":4}"))
@example(USAGE_CHUNK.replace(b":1,", b":1000000000,").replace(b":3}", b":1000000002}"))
def test_usual_counts_are_what_the_parser_reads(data: bytes) -> None:
    need_compiled()
    line = b"data: " + data + b"\n\n"
    counts = counts_of(line)
    note(f"usual: {counts is not None}")
    if counts is not None:
        chunk = decode_chunk(data)
        assert (chunk.choices, chunk.x_groq, chunk.error) == ([], None, None)
        assert chunk.service_tier in (None, "default")
        assert usage_from_wire(chunk.usage) == Usage(*counts)


def test_the_usage_of_most_servers_is_usual() -> None:
    need_compiled()
    details = (
        b'{"prompt_tokens": 19, "completion_tokens": 50, "total_tokens": 69, "prompt_tokens_details": '
        b'{"cached_tokens": 4, "audio_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 7, '
        b'"audio_tokens": 0, "accepted_prediction_tokens": 3, "rejected_prediction_tokens": 0}}'
    )
    for usage, counts in (
        (b'{"prompt_tokens":19,"total_tokens":69,"completion_tokens":50}', (19, 50, 69, 0, 0)),
        (
            b'{"prompt_tokens":19,"total_tokens":69,"completion_tokens":50,"prompt_tokens_details":null}',
            (19, 50, 69, 0, 0),
        ),
        (details, (19, 50, 69, 4, 7)),
    ):
        event = b'data: {"id":"c","choices":[],"service_tier":"default","usage":' + usage + b"}\n\n"
        assert counts_of(event, b"data: x\n\n") == counts
        assert counts_of(event[:-1]) is None


def test_the_usual_end_of_a_stream_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    need_compiled()
    monkeypatch.setattr(OpenAIReplyStream, "_look", None)
    content, usage = b"data: " + PLAIN_CHUNK + b"\n\n", b"data: " + USAGE_CHUNK + b"\n\n"
    for hides in (False, True):
        for pieces_of_end in ([usage + b"data: [DONE]\n\n"], [usage, b"data: [DONE]\n\n"]):
            reader = OpenAIReplyStream(choices=1, hide_usage=hides, event_limit=100)
            reader.feed(content)
            shown = b"".join(map(reader.feed, pieces_of_end))
            assert (shown, reader.usage, reader.done) == (b"" if hides else usage, Usage(1, 2, 3), True)
