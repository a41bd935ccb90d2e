"""Sealing under several keys, and their rotation (design 4.11, C15)."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import Any

import pytest

from llm_gateway.infra.secrets.vault import SealBroken, Vault, derive_early


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


def test_a_key_is_derived_once_and_may_be_begun_early(monkeypatch: pytest.MonkeyPatch) -> None:
    derived: list[bytes] = []
    scrypt, may_go_on = hashlib.scrypt, threading.Event()

    def counted(passphrase: bytes, **options: Any) -> bytes:
        assert may_go_on.wait(10)
        derived.append(passphrase)
        return scrypt(passphrase, **options)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    # Returns at once.
    derive_early(["derived early", "derived early"])
    may_go_on.set()
    sealed = Vault(["derived early"]).seal(b"x", "here")
    assert Vault(["derived early"]).open(sealed, "here") == b"x"
    assert derived == [b"derived early"]


def test_a_fork_derives_what_its_parent_has_not_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    scrypt, may_go_on, parent = hashlib.scrypt, threading.Event(), os.getpid()

    def slow(passphrase: bytes, **options: Any) -> bytes:
        assert os.getpid() != parent or may_go_on.wait(10)
        return scrypt(passphrase, **options)

    monkeypatch.setattr(hashlib, "scrypt", slow)
    derive_early(["cut by a fork"])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if Vault(["cut by a fork"]).seal(b"x", "here") else 2
        finally:
            os._exit(code)
    may_go_on.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert Vault(["cut by a fork"]).seal(b"x", "here")


def test_a_key_that_cannot_be_derived_is_an_error_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> bytes:
        raise ValueError("memory limit exceeded")

    monkeypatch.setattr(hashlib, "scrypt", fail)
    derive_early(["not derived"])
    with pytest.raises(ValueError, match="memory limit"):
        Vault(["not derived"])
