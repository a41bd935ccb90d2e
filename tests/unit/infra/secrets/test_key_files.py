"""The files that hold keys, and what is used without them (design 4.11, C22)."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from llm_gateway.core.secret import Secret
from llm_gateway.infra.secrets.key_files import KeyRing, find_admin_key, find_key_ring, find_viewer_key
from llm_gateway.infra.startup_error import StartupError


def test_s4_17_c22_an_admin_key_is_made_once_and_kept(data_dir: Path) -> None:
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


def test_s4_17_c22_postgres_needs_an_admin_key(data_dir: Path) -> None:
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


def test_a_viewer_key_is_optional_and_without_blanks() -> None:
    ring = KeyRing((Secret("sealing"),), "SECRET_KEY")
    assert find_viewer_key(None, Secret("admin"), ring) is None
    assert find_viewer_key(Secret(" viewer "), Secret("admin"), ring) == Secret("viewer")


@pytest.mark.parametrize(
    ("key", "other"), [("admin", "ADMIN_KEY"), (" admin\n", "ADMIN_KEY"), ("sealing-2", "SECRET_KEY")]
)
def test_whoever_has_the_viewer_key_must_have_no_other(key: str, other: str) -> None:
    ring = KeyRing((Secret("sealing-1"), Secret("sealing-2")), "SECRET_KEY")
    with pytest.raises(StartupError, match="VIEWER_KEY") as caught:
        find_viewer_key(Secret(key), Secret("admin "), ring)
    assert other in str(caught.value)
    assert key.strip() not in str(caught.value).lower().replace("admin_key", "")
