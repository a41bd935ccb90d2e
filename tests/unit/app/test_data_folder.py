"""Files of older gateways go to the database that they were written for, and to no other."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llm_gateway.app.data_folder import OtherJournals, adopt_older_files, machine_name
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.database.address import embedded_address
from llm_gateway.infra.database.catalog.last_good import LastGoodFile
from llm_gateway.infra.database.catalog.sealing import SealedSettings
from llm_gateway.infra.database.catalog.stored_catalog import StoredCatalog
from llm_gateway.infra.database.folders import DatabaseFolders
from llm_gateway.infra.journal.shipper import Shipper
from llm_gateway.infra.journal.writer import FileJournal
from llm_gateway.infra.secrets.vault import Vault
from tests.fakes.stores import ring
from tests.fakes.usage_records import InMemoryUsageStore, record

PEPPER, OTHER_PEPPER = b"p" * 32, b"q" * 32
VAULT = Vault(["the test key"])
EMPTY = StoredCatalog(version=1, providers=(), credentials=(), models=(), task_types=())


def sealed(pepper: bytes, vault: Vault = VAULT) -> SealedSettings:
    return SealedSettings(
        canary=vault.seal(b"the key is right", "sealed_settings:canary"),
        pepper=vault.seal(pepper, "sealed_settings:pepper"),
    )


class Folder:
    """A DATA_DIR that an older gateway has used."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.address = embedded_address(data_dir)
        journal = FileJournal(data_dir / "journal", 64 * 1024 * 1024, SystemClock())
        journal.end(record("a"))
        journal.close()

    def saved(self, owner: str, pepper: bytes, vault: Vault = VAULT) -> None:
        LastGoodFile(self.data_dir, owner).write(EMPTY, sealed(pepper, vault))

    def start(self, database_id: str = "aa11") -> Path:
        folder = DatabaseFolders(self.data_dir).open(self.address, database_id)
        adopt_older_files(self.data_dir, folder, self.address, pepper=PEPPER, ring=ring(), vault=VAULT)
        return folder

    def adopted(self, folder: Path) -> bool:
        moved = (folder / "journal").is_dir()
        assert moved != (self.data_dir / "journal").is_dir()
        assert moved != (self.data_dir / "last_good_catalog").exists() or not moved
        return moved


@pytest.fixture
def older(data_dir: Path) -> Folder:
    return Folder(data_dir)


def test_the_pepper_tells_whose_files_they_are_however_the_address_is_spelled(older: Folder) -> None:
    older.saved("some other spelling", PEPPER)
    folder = older.start()
    assert older.adopted(folder)
    assert LastGoodFile(folder, "aa11", "some other spelling").read_catalog() == EMPTY


def test_another_pepper_means_another_database_even_at_the_same_address(older: Folder) -> None:
    older.saved(older.address.shown, OTHER_PEPPER)
    folder = older.start()
    assert not older.adopted(folder)
    [(name, size)] = OtherJournals(older.data_dir, folder).waiting().items()
    assert name == older.address.shown
    assert size > 0


@pytest.mark.parametrize(("same_address", "adopted"), [(True, True), (False, False)])
def test_where_the_pepper_does_not_open_the_address_tells(
    older: Folder, same_address: bool, adopted: bool
) -> None:
    owner = older.address.shown if same_address else "db.example/x"
    older.saved(owner, PEPPER, Vault(["a key of long ago"]))
    assert older.adopted(older.start()) is adopted


def test_files_that_tell_nothing_go_to_the_first_database_only(older: Folder) -> None:
    DatabaseFolders(older.data_dir).open(older.address, "bb22")
    folder = older.start()
    assert not older.adopted(folder)
    assert list(OtherJournals(older.data_dir, folder).waiting()) == ["unknown"]


def test_the_first_database_gets_files_that_tell_nothing(older: Folder) -> None:
    assert older.adopted(older.start())


async def test_a_gateway_of_the_older_version_keeps_its_files_while_it_runs(older: Folder) -> None:
    older.saved(older.address.shown, PEPPER)
    shipper = Shipper(older.data_dir / "journal", InMemoryUsageStore(), SystemClock())
    shipper.start()
    while not shipper.elected:  # noqa: ASYNC110 - nothing tells of an election
        await asyncio.sleep(0.01)
    folder = older.start()
    assert not older.adopted(folder)
    assert OtherJournals(older.data_dir, folder).waiting() == {}
    await shipper.drain(5)
    assert older.adopted(older.start())


def test_a_second_adoption_after_a_downgrade_joins_the_first(older: Folder) -> None:
    older.saved(older.address.shown, PEPPER)
    folder = older.start()
    Folder(older.data_dir).saved(older.address.shown, PEPPER)
    older.start()
    assert not (older.data_dir / "journal").exists()
    assert len(list((folder / "journal").glob("*.jsonl"))) == 2
    assert not (older.data_dir / "last_good_catalog").exists()


def test_a_fresh_data_dir_has_nothing_to_adopt(data_dir: Path) -> None:
    address = embedded_address(data_dir)
    folder = DatabaseFolders(data_dir).open(address, "aa11")
    adopt_older_files(data_dir, folder, address, pepper=PEPPER, ring=ring(), vault=VAULT)
    assert [path.name for path in folder.iterdir()] == ["name"]
    assert OtherJournals(data_dir, folder).waiting() == {}


def test_a_machine_has_one_name_however_many_workers_ask(tmp_path: Path) -> None:
    folder = tmp_path / "databases" / "id"
    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(machine_name, [folder] * 32))
    assert len(names) == 1
    assert machine_name(folder) in names
    assert [path.name for path in folder.iterdir()] == ["machine"]
    # Where nothing can be written, there is a name all the same.
    (tmp_path / "file").write_text("")
    assert machine_name(tmp_path / "file") not in names
