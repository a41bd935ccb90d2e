"""The first start with a database fills its catalog once: all or nothing, and never one that is in use."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.app import create_credential, prepare
from llm_gateway.app.keys import find_keys
from llm_gateway.app.operations.config_files import import_config
from llm_gateway.app.storage import open_storage
from llm_gateway.flow.config.rows.providers import StoredProvider
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.settings import Settings
from llm_gateway.settings.first_start import FirstStartSettings
from llm_gateway.settings.reading import setting_names
from tests.fakes.given_settings import given_settings
from tests.unit.flow.config.files.test_gateway_reading import DOCUMENTED


class Place:
    """A database and a folder for gateways."""

    def __init__(self, url: str | None, data_dir: Path) -> None:
        self.given: dict[str, Any] = {
            "db_url": url,
            "data_dir": data_dir,
            "admin_key": "admin-key-0123456789",
        }
        self.folder = data_dir

    def settings(self, **values: Any) -> Settings:
        return given_settings(**self.given, **values)

    def file(self, text: str) -> Path:
        path = self.folder / "config.yaml"
        path.write_text(text)
        return path

    async def providers(self) -> list[str]:
        return [row.provider_key for row in await self._rows()]

    async def _rows(self) -> list[StoredProvider]:
        settings = self.settings()
        async with open_storage(settings, find_keys(settings), SystemClock()) as storage:
            return (await storage.rows.list(StoredProvider, 0, 100)).value

    async def delete(self, key: str) -> None:
        settings = self.settings()
        async with open_storage(settings, find_keys(settings), SystemClock()) as storage:

            async def remove(edit: Any) -> None:
                row = await edit.find(StoredProvider, key)
                await edit.remove(StoredProvider, row.id)

            await storage.rows.edit(remove)


@pytest.fixture
def place(store_url: str | None, data_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    for name in setting_names(FirstStartSettings):
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    return Place(store_url, data_dir)


async def test_s3_14_keys_fill_the_catalog_once(place: Place) -> None:
    keys = {"openai_api_key": "sk-1", "claude_api_key": "sk-2"}
    await prepare(place.settings(**keys))
    assert await place.providers() == ["openai", "claude"]
    await place.delete("openai")
    # Neither the same variables nor others make a provider again.
    await prepare(place.settings(**keys, mistral_api_key="sk-3"))
    assert await place.providers() == ["claude"]


async def test_s2_4_a_file_goes_before_the_environment(place: Place) -> None:
    settings = place.settings(config_file=place.file(DOCUMENTED), gemini_api_key="sk")
    await prepare(settings)
    assert await place.providers() == ["openai", "local"]
    # The file is not read again.
    place.file("nonsense: [")
    await prepare(settings)


async def test_nothing_is_filled_without_a_setting(place: Place) -> None:
    await prepare(place.settings())
    assert await place.providers() == []
    # So a key that is set later still counts.
    await prepare(place.settings(openai_api_key="sk"))
    assert await place.providers() == ["openai"]


async def test_a_catalog_in_use_is_never_touched(place: Place) -> None:
    await import_config(place.settings(), place.file(DOCUMENTED), existing="update")
    await place.delete("openai")
    await place.delete("local")
    await prepare(place.settings(mistral_api_key="sk"))
    assert await place.providers() == []


async def test_an_import_is_not_preceded_by_a_first_start(place: Place) -> None:
    await import_config(place.settings(mistral_api_key="sk"), place.file(DOCUMENTED), existing="update")
    assert await place.providers() == ["openai", "local"]


async def test_a_credential_does_not_make_a_catalog(place: Place) -> None:
    await create_credential(place.settings(), "first")
    await prepare(place.settings(openai_api_key="sk"))
    assert await place.providers() == ["openai"]


async def test_starts_at_the_same_time_fill_it_once(place: Place) -> None:
    settings = place.settings(openai_api_key="sk", downstream_services='{"llm": "http://llm"}')
    await prepare(place.settings())
    await asyncio.gather(*(prepare(settings) for _ in range(4)))
    assert await place.providers() == ["openai", "llm"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"openai_api_key": "sk", "openai_base_url": "ftp://x"}, "OPENAI_BASE_URL: api_base must be a URL"),
        ({"downstream_services": '{"a": "a.example"}'}, "DOWNSTREAM_SERVICES['a']: api_base must be a URL"),
        ({"downstream_services": '{"1": "http://a"}'}, "DOWNSTREAM_SERVICES['1']: provider_key: must not be digits"),
        ({"api_endpoint": "nowhere"}, "API_ENDPOINT: api_base must be a URL"),
        ({"api_endpoint": "http://x", "coin_url": "http://t", "client_id": "a"}, "CLIENT_SECRET is not set"),
        ({"surl": "nowhere", "skey": "hush"}, "SURL: api_base must be a URL"),
    ],
)  # fmt: skip
async def test_a_wrong_variable_is_named_and_nothing_is_stored(
    place: Place, values: dict[str, str], message: str
) -> None:
    with pytest.raises(StartupError) as raised:
        await prepare(place.settings(mistral_api_key="sk", **values))
    assert message in str(raised.value)
    assert await place.providers() == []
    # A corrected one fills it.
    await prepare(place.settings(mistral_api_key="sk"))
    assert await place.providers() == ["mistral"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DOCUMENTED + "weights: 1\n", "line 15: weights is unknown"),
        (DOCUMENTED.replace("http://localhost", "localhost"), "line 7: providers.local.base_url: base_url must"),
        ("providers: [", "this is not valid YAML"),
        ("", "the file is empty"),
    ],
)  # fmt: skip
async def test_a_wrong_file_is_named_with_its_line(place: Place, text: str, message: str) -> None:
    path = place.file(text)
    with pytest.raises(StartupError) as raised:
        await prepare(place.settings(config_file=path))
    assert str(raised.value).startswith(f"CONFIG_FILE={path}, ")
    assert message in str(raised.value)
    assert await place.providers() == []


async def test_a_file_that_is_not_there(place: Place) -> None:
    with pytest.raises(StartupError, match=r"CONFIG_FILE=.*absent.yaml cannot be read: No such file"):
        await prepare(place.settings(config_file=place.folder / "absent.yaml"))
