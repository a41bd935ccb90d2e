"""A client's key is stored as a hash and a prefix that gives little of it away."""

from __future__ import annotations

import re

import pytest
from msgspec import UNSET

from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.base import stored_type
from llm_gateway.flow.config.rows.credentials import (
    CredentialUpdate,
    StoredCredential,
    generate_key,
    hash_key,
    key_prefix,
    without_generated_prefix,
)
from llm_gateway.flow.ports.catalog import KeyHasher

ROW = StoredCredential(
    id=7,
    created_at=1,
    updated_at=1,
    name="app",
    key_prefix="sk-abcde",
    allowed_models=None,
    rate_limit=None,
    is_enabled=True,
)


class ReversingHasher(KeyHasher):
    def hash(self, key: str) -> bytes:
        return key[::-1].encode()


def test_rows_and_updates_know_each_other() -> None:
    assert stored_type(CredentialUpdate()) is StoredCredential


def test_the_label_has_the_id_since_names_are_not_unique() -> None:
    assert (ROW.name_or_key, ROW.label) == ("app", "credential 7 'app'")


def test_a_key_is_replaced_by_its_hash_and_prefix() -> None:
    update = CredentialUpdate(name="app", key=Secret("sk-0123456789abcdefghijkl"))
    assert hash_key(update, ReversingHasher()) == CredentialUpdate(
        name="app", key=UNSET, key_hash=b"lkjihgfedcba9876543210-ks", key_prefix="sk-01234"
    )


def test_an_update_without_a_key_stays_as_it_is() -> None:
    update = CredentialUpdate(name="app")
    assert hash_key(update, ReversingHasher()) is update


@pytest.mark.parametrize(
    ("key", "prefix"),
    [("", ""), ("ab", ""), ("abc", "a"), ("abcdef", "ab"), ("x" * 24, "x" * 8), ("x" * 500, "x" * 8)],
)
def test_a_prefix_is_at_most_eight_characters_and_a_third(key: str, prefix: str) -> None:
    assert key_prefix(key) == prefix


def test_generated_keys_are_long_url_safe_and_never_alike() -> None:
    keys = {generate_key().reveal() for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch(r"sk-[A-Za-z0-9_-]{43}", key) for key in keys)


def test_a_dry_run_shows_only_what_all_generated_keys_share() -> None:
    assert without_generated_prefix(ROW).key_prefix == "sk-"
    assert generate_key().reveal().startswith("sk-")
