"""Bodies that a provider compressed although nobody asked for it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.infra.upstream.content_coding import PIECE, Inflater, Undecodable, inflater_for


def _bare(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(data) + deflate.flush()


def _inflate(coding: str, coded: bytes, step: int) -> bytes:
    inflater = Inflater(coding)
    out = b""
    for start in range(0, len(coded), step):
        inflater.feed(coded[start : start + step])
        while data := inflater.take():
            assert len(data) <= PIECE
            out += data
    inflater.end()
    return out


CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "bare": _bare,
    "members": lambda data: gzip.compress(data[:3]) + gzip.compress(data[3:]),
    "padded": lambda data: gzip.compress(data) + b"\0" * 5,
}


@given(st.sampled_from(sorted(CODERS)), st.binary(max_size=300), st.integers(min_value=1, max_value=50))
def test_what_was_coded_is_decoded_in_any_pieces(coder: str, data: bytes, step: int) -> None:
    coding = "deflate" if coder in {"deflate", "bare"} else "gzip"
    assert _inflate(coding, CODERS[coder](data), step) == data


def test_a_bomb_grows_no_faster_than_it_is_read() -> None:
    inflater = Inflater("gzip")
    inflater.feed(gzip.compress(bytes(20 * PIECE)))
    assert len(inflater.take()) == PIECE
    assert len(inflater.take()) == PIECE


@pytest.mark.parametrize(
    ("coding", "coded"),
    [
        ("gzip", b"no gzip"),
        ("gzip", gzip.compress(b"hello", mtime=0)[:-1]),
        ("gzip", gzip.compress(b"hello", mtime=0) + b"junk"),
        ("gzip", b"\x1f"),
        ("deflate", b"\xff\xff\xff"),
        ("deflate", zlib.compress(b"hello")[:-1]),
        ("deflate", zlib.compress(b"hello") + b"junk"),
        ("deflate", b"x"),
    ],
)
@pytest.mark.parametrize("step", [1, 100])
def test_what_is_not_so_coded_is_refused(coding: str, coded: bytes, step: int) -> None:
    with pytest.raises(Undecodable):
        _inflate(coding, coded, step)


def test_codings_are_known_by_name() -> None:
    assert inflater_for(None) is None
    assert inflater_for(" Identity ") is None
    assert inflater_for("") is None
    assert inflater_for("GZIP") is not None
    for unknown in ("br", "zstd", "gzip, gzip", "compress"):
        with pytest.raises(Undecodable):
            inflater_for(unknown)
