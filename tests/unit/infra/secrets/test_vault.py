"""Sealing under several keys, and their rotation (design 4.11, C15)."""

from __future__ import annotations

import pytest

from llm_gateway.infra.secrets.vault import SealBroken, Vault


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
