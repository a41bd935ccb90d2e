"""The keyed hash of client keys (design 4.11, C15)."""

from __future__ import annotations

from llm_gateway.infra.secrets.key_hashing import Blake2KeyHasher


def test_c15_the_hash_depends_on_key_and_pepper() -> None:
    hasher = Blake2KeyHasher(b"p" * 32)
    assert hasher.hash("sk-1") == hasher.hash("sk-1")
    assert len(hasher.hash("sk-1")) == 32
    assert len({hasher.hash("sk-1"), hasher.hash("sk-2"), Blake2KeyHasher(b"q" * 32).hash("sk-1")}) == 3
    # Whatever a client's header holds gets a hash, and not another key's.
    odd = ["", "é", "\ud800", "?", "\0", "x" * 100_000]
    assert len({hasher.hash(key) for key in odd}) == len(odd)
