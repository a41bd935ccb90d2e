"""Keeps secrets unreadable at rest: sealing under a ring of keys, the keyed hash of client keys, and key files."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from llm_gateway.core.secret import Secret
from llm_gateway.infra.startup_error import StartupError

_ENVIRONMENT_REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
# An admin who may name variables must not be able to send the gateway's own keys to a server of theirs.
_OWN_VARIABLES = frozenset({"ADMIN_KEY", "DB_URL", "OPS_TOKEN", "REDIS_URL", "SECRET_KEY", "TOKEN_SECRET"})
# The same for every installation, since the key is needed before any database answers (and while none does).
_SALT = b"llm-gateway sealed secrets"
_SEALED = "sealed:1:"
_NONCE_BYTES = 12
PEPPER_BYTES = 32


class SealBroken(Exception):
    """The sealed text does not open: another key, another row, or damaged; it says nothing of the contents."""


class _RingKey:
    """One AES-256-GCM key and the short public name that sealed texts carry."""

    __slots__ = ("cipher", "name")

    def __init__(self, passphrase: str) -> None:
        # scrypt, not HKDF: an operator's SECRET_KEY may be a mere password. About 50 ms, once a start.
        material = hashlib.scrypt(
            passphrase.encode("utf-8", "surrogateescape"), salt=_SALT, n=2**14, r=8, p=1, dklen=40
        )
        self.cipher = AESGCM(material[:32])
        self.name = material[32:].hex()


class Vault:
    """Seals under the newest key and opens under any key of the ring."""

    def __init__(self, passphrases: Sequence[str]) -> None:
        """Derive the keys from `passphrases`, newest first; there must be one."""
        keys = [_RingKey(passphrase) for passphrase in dict.fromkeys(passphrases)]
        self._newest = keys[0]
        self._keys = {key.name: key for key in keys}

    def seal(self, plain: bytes, place: str) -> str:
        """Return `plain` sealed, to be opened only for the same `place` (which row and column it is in)."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._newest.cipher.encrypt(nonce, plain, place.encode())
        return f"{_SEALED}{self._newest.name}:{base64.urlsafe_b64encode(sealed).decode()}"

    def open(self, sealed: str, place: str) -> bytes:
        """Return what was sealed for `place`; raise SealBroken."""
        name, _, body = sealed.removeprefix(_SEALED).partition(":")
        key = self._keys.get(name)
        if key is None or not sealed.startswith(_SEALED):
            raise SealBroken("sealed under a key that is not in the ring")
        try:
            raw = base64.b64decode(body, altchars=b"-_", validate=True)
            return key.cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place.encode())
        except (ValueError, InvalidTag):
            raise SealBroken("sealed for another place, or damaged") from None

    def is_newest(self, sealed: str) -> bool:
        """Tell whether `sealed` is under the newest key already."""
        return sealed.startswith(f"{_SEALED}{self._newest.name}:")

    def reseal(self, sealed: str, place: str) -> str:
        """Return the same contents under the newest key; raise SealBroken."""
        return self.seal(self.open(sealed, place), place)


class Blake2KeyHasher:
    """Hashes client keys under a pepper that only the sealed database row holds (implements KeyHasher)."""

    def __init__(self, pepper: bytes) -> None:
        """Key the hash with `pepper`."""
        self._keyed = hashlib.blake2b(key=pepper, digest_size=32)

    def hash(self, key: str) -> bytes:
        """Return 32 bytes; the key's own length is all that the work depends on."""
        hasher = self._keyed.copy()
        # A header may hold anything: what no admin can have stored must still hash, and to its own value.
        hasher.update(key.encode("utf-8", "surrogatepass"))
        return hasher.digest()


# --- secrets in the catalog ------------------------------------------------------------------------


class MissingVariable(Exception):
    """An `env:NAME` reference cannot be resolved; the message names the variable."""


def is_reference(text: str) -> bool:
    """Tell whether `text` means an environment variable rather than a secret."""
    return text.startswith("env:")


def resolve_reference(reference: str, environ: Mapping[str, str]) -> str:
    """Return the variable's value; raise MissingVariable with a sentence for the admin."""
    match = _ENVIRONMENT_REFERENCE.fullmatch(reference)
    if match is None:
        raise MissingVariable("an environment reference must look like env:NAME")
    name = match.group(1)
    if name.upper() in _OWN_VARIABLES:
        raise MissingVariable(
            f"environment variable {name} is the gateway's own and may not be sent to a provider"
        )
    value = environ.get(name, "").strip()
    if not value:
        raise MissingVariable(f"environment variable {name} is not set")
    if not value.isprintable() or not value.isascii():
        raise MissingVariable(f"environment variable {name} holds characters that no HTTP header may carry")
    return value


def mask(secret: str) -> str:
    """Return what may be shown of a provider's secret: its last four characters, if it is long enough."""
    return "***" + (secret[-4:] if len(secret) >= 16 else "")


# --- where the keys come from ------------------------------------------------------------------------


class AdminKey(msgspec.Struct, frozen=True):
    """The admin API's key, and the file it lies in when it was not given."""

    secret: Secret
    path: Path | None = None
    # Made just now: the operator has not seen it yet.
    made: bool = False


def find_admin_key(configured: Secret | None, data_dir: Path, *, is_postgres: bool) -> AdminKey:
    """Return ADMIN_KEY, or the one in DATA_DIR/admin_key (made at first start); raise StartupError."""
    if configured is not None and configured.reveal().strip():
        return AdminKey(configured)
    if is_postgres:
        raise StartupError(
            "ADMIN_KEY is not set: with PostgreSQL every start needs the same one, so choose it yourself"
        )
    path = data_dir / "admin_key"
    value, made = _key_file(path, "ADMIN_KEY", "admin-" + secrets.token_urlsafe(32))
    return AdminKey(Secret(value), path, made)


class KeyRing(msgspec.Struct, frozen=True):
    """The passphrases that seal secrets, newest first, and what to say about where they come from."""

    passphrases: tuple[Secret, ...]
    # The variable (or file) that the newest one comes from, for error messages.
    source: str
    warning: str | None = None

    def vault(self) -> Vault:
        """Derive the keys: tens of milliseconds each."""
        return Vault([passphrase.reveal() for passphrase in self.passphrases])


def find_key_ring(
    secret_key: Secret | None, admin_key: Secret, data_dir: Path, *, is_postgres: bool
) -> KeyRing:
    """Return the ring from SECRET_KEY, else from a file in DATA_DIR (SQLite) or ADMIN_KEY (PostgreSQL).

    What would have been used without SECRET_KEY stays in the ring as the oldest, so that setting it for the
    first time locks nobody out. Raises StartupError.
    """
    path = data_dir / "secret_key"
    given = [] if secret_key is None else [part.strip() for part in secret_key.reveal().split(",")]
    if secret_key is not None and not all(given):
        raise StartupError(
            "SECRET_KEY is a comma-separated list of keys, newest first, and one of them is empty"
        )
    passphrases = [Secret(part) for part in given]
    if is_postgres:
        passphrases.append(admin_key)
        if not given:
            return KeyRing(
                tuple(passphrases),
                "ADMIN_KEY",
                "SECRET_KEY is not set: provider secrets are sealed with a key derived from ADMIN_KEY. "
                "Set SECRET_KEY, so that ADMIN_KEY can be changed.",
            )
        return KeyRing(tuple(passphrases), "SECRET_KEY")
    if not given or path.exists():
        value, _ = _key_file(path, "SECRET_KEY", secrets.token_urlsafe(32))
        passphrases.append(Secret(value))
    return KeyRing(tuple(passphrases), "SECRET_KEY" if given else f"SECRET_KEY (the file {path})")


def _key_file(path: Path, variable: str, fresh: str) -> tuple[str, bool]:
    """Return the key in `path` and whether it was written now, by this process, with mode 0600."""
    made = False
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            made = _write_once(path, fresh)
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(
            f"{variable} is not set, and {path} cannot be used in its place ({type(error).__name__})"
        ) from error
    if not value:
        raise StartupError(f"{path} is empty: put the key back, or set {variable}")
    return value, made


def _write_once(path: Path, text: str) -> bool:
    """Make `path` with `text`, whole or not at all; False when another process was first."""
    # mkstemp gives mode 0600; the link fails when the name exists, so one of several starters wins.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        Path(temporary).unlink()
    return True
