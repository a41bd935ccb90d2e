"""Sealing, the ring of keys, the keyed hash of client keys, and the key files (design 4.11, C15, C22)."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from llm_gateway.core.secret import Secret
from llm_gateway.infra.secrets import (
    Blake2KeyHasher,
    MissingVariable,
    SealBroken,
    Vault,
    find_admin_key,
    find_key_ring,
    mask,
    resolve_reference,
)
from llm_gateway.infra.startup_error import StartupError


def test_what_was_sealed_opens_in_its_place_alone() -> None:
    vault = Vault(["key"])
    sealed = vault.seal(b"the secret", "provider:1:api_key")
    assert "the secret" not in sealed
    assert vault.open(sealed, "provider:1:api_key") == b"the secret"
    assert vault.seal(b"the secret", "provider:1:api_key") != sealed, "never the same nonce"
    with pytest.raises(SealBroken):
        vault.open(sealed, "provider:2:api_key")
    with pytest.raises(SealBroken):
        Vault(["other"]).open(sealed, "provider:1:api_key")


@pytest.mark.parametrize(
    "damage",
    [lambda s: s[:-4] + "AAAA", lambda s: s[:-9], lambda s: "", lambda s: "sk-plain", lambda s: s + "é"],
)
def test_damaged_text_does_not_open(damage: object) -> None:
    vault = Vault(["key"])
    assert callable(damage)
    with pytest.raises(SealBroken):
        vault.open(damage(vault.seal(b"the secret", "here")), "here")


def test_rotation_opens_the_old_and_seals_under_the_new() -> None:
    old, both, new = Vault(["old"]), Vault(["new", "old"]), Vault(["new"])
    sealed = old.seal(b"x", "here")
    assert both.open(sealed, "here") == b"x"
    assert not both.is_newest(sealed)
    resealed = both.reseal(sealed, "here")
    assert both.is_newest(resealed)
    assert new.open(resealed, "here") == b"x"
    with pytest.raises(SealBroken):
        old.open(resealed, "here")


def test_c15_the_hash_depends_on_key_and_pepper() -> None:
    hasher = Blake2KeyHasher(b"p" * 32)
    assert hasher.hash("sk-1") == hasher.hash("sk-1")
    assert len(hasher.hash("sk-1")) == 32
    assert len({hasher.hash("sk-1"), hasher.hash("sk-2"), Blake2KeyHasher(b"q" * 32).hash("sk-1")}) == 3
    # Whatever a client's header holds gets a hash, and not another key's.
    odd = ["", "é", "\ud800", "?", "\0", "x" * 100_000]
    assert len({hasher.hash(key) for key in odd}) == len(odd)


def test_s2_8_references_are_looked_up() -> None:
    assert resolve_reference("env:OPENAI_API_KEY", {"OPENAI_API_KEY": " sk-x\n"}) == "sk-x"
    for reference, environ, says in (
        ("env:MISSING", {}, "environment variable MISSING is not set"),
        ("env:EMPTY", {"EMPTY": " "}, "environment variable EMPTY is not set"),
        ("env:", {}, "env:NAME"),
        ("env:A B", {"A B": "x"}, "env:NAME"),
        ("env:DB_URL", {"DB_URL": "hunter2"}, "the gateway's own"),
        ("env:admin_key", {"admin_key": "hunter2"}, "the gateway's own"),
        ("env:ODD", {"ODD": "hunter2\r\nx: y"}, "no HTTP header"),
    ):
        with pytest.raises(MissingVariable, match=says) as missing:
            resolve_reference(reference, environ)
        assert "hunter2" not in str(missing.value)


def test_s4_39_masks_show_four_characters_of_long_secrets_alone() -> None:
    assert mask("sk-0123456789abcdef") == "***cdef"
    assert mask("short-secret") == "***"
    assert mask("") == "***"


def test_c22_an_admin_key_is_made_once_and_kept(data_dir: Path) -> None:
    first = find_admin_key(None, data_dir / "new", is_postgres=False)
    assert first.path == data_dir / "new" / "admin_key"
    assert first.made
    assert first.path.stat().st_mode & 0o777 == 0o600
    assert len(first.secret.reveal()) > 30
    again = find_admin_key(None, data_dir / "new", is_postgres=False)
    assert (again.secret, again.made) == (first.secret, False)
    given = find_admin_key(Secret("mine"), data_dir / "new", is_postgres=False)
    assert (given.secret, given.path) == (Secret("mine"), None)
    assert list((data_dir / "new").iterdir()) == [first.path]


def test_c22_postgres_needs_an_admin_key(data_dir: Path) -> None:
    with pytest.raises(StartupError, match="ADMIN_KEY"):
        find_admin_key(None, data_dir, is_postgres=True)
    assert list(data_dir.iterdir()) == []


def test_workers_that_start_together_agree_on_one_key(data_dir: Path) -> None:
    gate = threading.Barrier(8)
    found = []

    def start() -> None:
        gate.wait()
        found.append(find_admin_key(None, data_dir, is_postgres=False))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({key.secret for key in found}) == 1
    assert sum(key.made for key in found) == 1


def test_an_unusable_key_file_is_a_start_fault(data_dir: Path) -> None:
    (data_dir / "admin_key").write_text("\n")
    with pytest.raises(StartupError, match="admin_key is empty"):
        find_admin_key(None, data_dir, is_postgres=False)
    with pytest.raises(StartupError, match="ADMIN_KEY"):
        find_admin_key(None, data_dir / "admin_key" / "x", is_postgres=False)


def reveal(passphrases: tuple[Secret, ...]) -> list[str]:
    return [passphrase.reveal() for passphrase in passphrases]


def test_the_ring_on_sqlite_comes_from_a_file(data_dir: Path) -> None:
    ring = find_key_ring(None, Secret("admin"), data_dir, is_postgres=False)
    file = data_dir / "secret_key"
    assert reveal(ring.passphrases) == [file.read_text().strip()]
    assert file.stat().st_mode & 0o777 == 0o600
    assert "secret_key" in ring.source
    # Setting SECRET_KEY later opens what the file sealed.
    ring = find_key_ring(Secret("new , old"), Secret("admin"), data_dir, is_postgres=False)
    assert reveal(ring.passphrases) == ["new", "old", file.read_text().strip()]
    assert ring.source == "SECRET_KEY"


def test_the_ring_on_postgres_comes_from_the_admin_key_with_a_warning(data_dir: Path) -> None:
    ring = find_key_ring(None, Secret("admin"), data_dir, is_postgres=True)
    assert (reveal(ring.passphrases), ring.source) == (["admin"], "ADMIN_KEY")
    assert ring.warning is not None
    assert "SECRET_KEY" in ring.warning
    ring = find_key_ring(Secret("new"), Secret("admin"), data_dir, is_postgres=True)
    assert (reveal(ring.passphrases), ring.warning) == (["new", "admin"], None)
    assert list(data_dir.iterdir()) == []
    with pytest.raises(StartupError, match="SECRET_KEY"):
        find_key_ring(Secret("a,,b"), Secret("admin"), data_dir, is_postgres=True)
