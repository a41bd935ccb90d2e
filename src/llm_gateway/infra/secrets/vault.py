"""Encrypts stored secrets with AES-256-GCM, under the newest of several keys so that keys can be rotated."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import secrets
import threading
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# The salt is the same for every installation: the key is needed before, and without, any database.
_SALT = b"llm-gateway sealed secrets"
_SEALED = "sealed:1:"
_NONCE_BYTES = 12


class SealBroken(Exception):
    """The sealed text cannot be opened: wrong key, wrong row, or damaged. The message holds none of its contents."""


class _Derivation(threading.Thread):
    """Derives a key in a thread of its own; OpenSSL does not hold the interpreter's lock meanwhile."""

    def __init__(self, passphrase: str) -> None:
        # A daemon: a start that fails does not wait for it.
        super().__init__(name="key-derivation", daemon=True)
        self._passphrase = passphrase
        self._material: bytes | None = None
        self.start()

    def run(self) -> None:
        # What this raises, `result` raises as well.
        with contextlib.suppress(Exception):
            self._material = _derive(self._passphrase)

    def result(self) -> bytes:
        """Return the key once it is derived."""
        self.join()
        if self._material is None:
            # A fork has ended the thread.
            self._material = _derive(self._passphrase)
        return self._material


def _derive(passphrase: str) -> bytes:
    # scrypt, not HKDF: an operator's SECRET_KEY may be a mere password. About 50 ms.
    return hashlib.scrypt(
        passphrase.encode("utf-8", "surrogateescape"), salt=_SALT, n=2**14, r=8, p=1, dklen=40
    )


# Once per process, and before workers are forked: a start opens the database up to three times.
_derivation = functools.lru_cache(maxsize=16)(_Derivation)


def derive_early(passphrases: Sequence[str]) -> None:
    """Begin to derive the keys; a `Vault` of these waits for what is left."""
    for passphrase in passphrases:
        _derivation(passphrase)


class _DerivedKey:
    """One AES-256-GCM key and its public name, which sealed texts carry."""

    __slots__ = ("cipher", "name")

    def __init__(self, passphrase: str) -> None:
        material = _derivation(passphrase).result()
        self.cipher = AESGCM(material[:32])
        self.name = material[32:].hex()


class Vault:
    """Seals under the newest key and opens under any of its keys.

    `associated_data` names the row and column that a text belongs to. A text opens only with the associated
    data that it was sealed with, so that it cannot be moved to another row.
    """

    def __init__(self, passphrases: Sequence[str]) -> None:
        """Derive one key per passphrase, newest first; at least one is required."""
        keys = [_DerivedKey(passphrase) for passphrase in dict.fromkeys(passphrases)]
        self._newest = keys[0]
        self._keys = {key.name: key for key in keys}

    def seal(self, plain: bytes, associated_data: str) -> str:
        """Encrypt `plain`; the result is printable ASCII."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._newest.cipher.encrypt(nonce, plain, associated_data.encode())
        return f"{_SEALED}{self._newest.name}:{base64.urlsafe_b64encode(sealed).decode()}"

    def open(self, sealed: str, associated_data: str) -> bytes:
        """Decrypt a text that `seal` returned; raise SealBroken."""
        name, _, body = sealed.removeprefix(_SEALED).partition(":")
        key = self._keys.get(name)
        if key is None or not sealed.startswith(_SEALED):
            raise SealBroken("sealed under an unknown key")
        try:
            raw = base64.b64decode(body, altchars=b"-_", validate=True)
            return key.cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], associated_data.encode())
        except (ValueError, InvalidTag):
            raise SealBroken("sealed for another row, or damaged") from None

    def is_newest(self, sealed: str) -> bool:
        """Tell whether `sealed` is already under the newest key."""
        return sealed.startswith(f"{_SEALED}{self._newest.name}:")

    def reseal(self, sealed: str, associated_data: str) -> str:
        """Return the same contents under the newest key; raise SealBroken."""
        return self.seal(self.open(sealed, associated_data), associated_data)
