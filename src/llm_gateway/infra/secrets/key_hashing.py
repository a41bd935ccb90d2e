"""Hashes client keys, so that the database never holds one."""

from __future__ import annotations

import hashlib

PEPPER_BYTES = 32


class Blake2KeyHasher:
    """Hashes client keys with BLAKE2b under a pepper, which is stored sealed (implements KeyHasher)."""

    def __init__(self, pepper: bytes) -> None:
        self._keyed = hashlib.blake2b(key=pepper, digest_size=32)

    def hash(self, key: str) -> bytes:
        """Return 32 bytes. The time depends on the key's length alone."""
        hasher = self._keyed.copy()
        # A header may hold lone surrogates: no admin can have stored such a key, but each must hash to its own value.
        hasher.update(key.encode("utf-8", "surrogatepass"))
        return hasher.digest()
