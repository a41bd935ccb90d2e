"""`?dry_run=true`, `If-Match` and `ETag` on every admin write of the catalog, on both stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llm_gateway.admin.write_options import read_if_match
from llm_gateway.core.errors import BadRequest, PreconditionFailed
from llm_gateway.flow.config.editor import EditOptions
from llm_gateway.flow.config.rows.providers import ProviderUpdate
from tests.fakes.admin_client import AdminClient, admin_client
from tests.fakes.stores import Store, opened

PROVIDER = {"provider_key": "p", "provider_type": "openai", "api_base": "http://127.0.0.1:9/v1"}
# What each resource is created with, and how such a row is changed.
NEW: dict[str, dict[str, Any]] = {
    "/providers": {**PROVIDER, "provider_key": "new", "api_key": "sk-0123456789abcdef"},
    "/models": {"name": "new/model", "fallbacks": ["nobody-serves-this"]},
    "/task-types": {"name": "new", "models": ["nobody-serves-this"]},
    "/credentials": {"name": "new"},
}
CHANGES: dict[str, dict[str, Any]] = {
    "/providers": {"weight": 7},
    "/models": {"affinity": "user"},
    "/task-types": {"models": ["other"]},
    "/credentials": {"rate_limit": 7},
}
# Every write, on a row 1 that `filled` has created.
WRITES: list[tuple[str, str, dict[str, Any] | None]] = [
    *(("POST", path, body) for path, body in NEW.items()),
    *((method, f"{path}/1", body) for path, body in CHANGES.items() for method in ("PUT", "PATCH")),
    ("POST", "/credentials/1/rotate", None),
    *(("DELETE", f"{path}/1", None) for path in CHANGES),
]
TABLES = ("providers", "models", "task_types", "credentials", "config_versions")


@pytest.fixture
async def desk(store_url: str | None, data_dir: Path) -> AsyncIterator[AdminClient]:
    async with opened(store_url, data_dir) as store, admin_client(store) as desk:
        await fill(store, desk)
        yield desk


@pytest.fixture
async def quick_desk(data_dir: Path) -> AsyncIterator[AdminClient]:
    async with opened(None, data_dir) as store, admin_client(store) as desk:
        await fill(store, desk)
        yield desk


async def fill(store: Store, desk: AdminClient) -> None:
    await store.add_provider("p")
    await desk.ask("POST", "/models", 201, json={"name": "m"})
    await desk.ask("POST", "/task-types", 201, json={"name": "t", "models": ["m"]})
    await store.add_credential("c", "sk-client-key")


async def send(
    desk: AdminClient,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    query: str = "",
    if_match: str | None = None,
) -> httpx.Response:
    headers = {} if if_match is None else {"If-Match": if_match}
    return await desk.client.request(method, f"/admin/v1{path}{query}", json=body, headers=headers)


async def everything(store: Store) -> list[Any]:
    """Return all that an edit could leave behind."""
    rows = [await store.sql(f"SELECT * FROM {table} ORDER BY 1") for table in TABLES]
    ids = []
    if store.is_postgres:
        ids = [await store.sql(f"SELECT last_value, is_called FROM {table}_id_seq") for table in TABLES[:-1]]
    else:
        ids = [await store.sql("SELECT * FROM sqlite_sequence ORDER BY name")]
    return [*rows, *ids, await store.catalog.version(), store.holder.current]


# --- dry_run ---------------------------------------------------------------------------------------


async def test_a_dry_run_answers_like_the_write_and_stores_nothing(desk: AdminClient) -> None:
    before = await everything(desk.store)
    announced = desk.store.worker_registry.announced_version()
    in_force = desk.store.reloader.status.version
    for method, path, body in WRITES:
        dry = await send(desk, method, path, body, "?dry_run=true")
        assert dry.status_code == 200, (method, path, dry.text)
        answer = dry.json()
        assert answer["dry_run"] is True
        assert answer["config_version"] == in_force
        assert dry.headers["etag"] == f'"{in_force}"'
        assert "key" not in answer
        assert await everything(desk.store) == before, (method, path)
        assert desk.store.worker_registry.announced_version() == announced
        for name, value in (body or {}).items():
            assert answer[name] == ("***cdef" if name == "api_key" else value), (method, path)
        if method == "DELETE":
            assert (answer["id"], answer["deleted"]) == (1, False)


async def test_a_dry_run_of_a_creation_answers_what_the_creation_stores(desk: AdminClient) -> None:
    for path, body in NEW.items():
        dry = (await send(desk, "POST", path, body, "?dry_run=true")).json()
        made = await send(desk, "POST", path, body)
        assert made.status_code == 201
        stored = made.json()
        assert made.headers["etag"] == f'"{stored["config_version"]}"'
        assert stored["config_version"] == dry["config_version"] + 1
        key = stored.pop("key", None)
        if key is not None:
            # A key that is never stored must not look like one that is.
            assert (dry.pop("key_prefix"), stored.pop("key_prefix")) == ("sk-", key[:8])
        for name in ("dry_run", "config_version", "created_at", "updated_at"):
            dry.pop(name)
            stored.pop(name, None)
        assert dry == stored, path
    warned = (await send(desk, "POST", "/models", {"name": "w", "fallbacks": ["x"]}, "?dry_run=1")).json()
    assert "fallbacks: no enabled provider serves 'x'" not in warned["warnings"], "a wildcard serves it"


async def test_a_dry_run_warns_of_what_has_no_effect(desk: AdminClient) -> None:
    await desk.ask("PATCH", "/providers/1", json={"model_mapping": {"m": "m"}})
    body = {"name": "other", "models": ["m", "missing"]}
    dry = (await send(desk, "POST", "/task-types", body, "?dry_run=true")).json()
    assert dry["warnings"] == ["models: no enabled provider serves 'missing'"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("POST", "/providers", PROVIDER, 409, "provider_key"),
        ("POST", "/credentials", {"name": "x", "key": "sk-client-key"}, 409, "key"),
        ("POST", "/models", {"name": "m"}, 409, "name"),
        ("POST", "/providers", {**PROVIDER, "provider_key": "x", "api_base": "nonsense"}, 422, "api_base"),
        ("PATCH", "/providers/1", {"api_key": "env:NOT_SET"}, 422, "api_key"),
        ("PUT", "/models/1", {"timeouts": {"idle": 0}}, 422, "timeouts.idle"),
        ("PUT", "/task-types/99", {"models": ["m"]}, 404, None),
        ("DELETE", "/providers/nobody", None, 404, None),
        ("POST", "/credentials/99/rotate", None, 404, None),
    ],
)
async def test_a_dry_run_fails_like_the_write(
    quick_desk: AdminClient,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    status: int,
    param: str | None,
) -> None:
    before = await everything(quick_desk.store)
    dry = await send(quick_desk, method, path, body, "?dry_run=true")
    real = await send(quick_desk, method, path, body)
    assert (dry.status_code, dry.json()) == (real.status_code, real.json())
    assert dry.status_code == status
    assert dry.json()["error"]["param"] == param
    assert await everything(quick_desk.store) == before


async def test_a_misspelt_dry_run_writes_nothing(quick_desk: AdminClient) -> None:
    for query in ("?dryrun=true", "?dry-run=true", "?dry_run=maybe", "?dry_run=true&force=1"):
        for method, path, body in WRITES:
            answer = await send(quick_desk, method, path, body, query)
            assert answer.status_code == 422, (method, path, query)
    assert await quick_desk.store.catalog.version() == 5


async def test_a_dry_run_of_a_repair_says_what_is_left(desk: AdminClient) -> None:
    await desk.store.add_provider("q")
    await desk.store.sql("UPDATE providers SET api_base = 'nonsense'")
    await desk.store.reloader.reload()
    before = await desk.store.catalog.version()
    dry = (await send(desk, "PATCH", "/providers/p", {"api_base": "http://x"}, "?dry_run=true")).json()
    (left,) = dry["faults"]
    assert left.startswith("provider 'q': api_base")
    assert await desk.store.catalog.version() == before


# --- If-Match --------------------------------------------------------------------------------------


async def test_a_write_with_a_stale_version_is_412_and_names_the_current_one(desk: AdminClient) -> None:
    before = await everything(desk.store)
    version = await desk.store.catalog.version()
    for stale in (
        f'"{version - 1}"',
        f'"{version + 1}"',
        '"abc"',
        '""',
        f'"0{version}"',
        f'"{version - 1}", W/"1"',
    ):
        for method, path, body in WRITES:
            for query in ("", "?dry_run=true"):
                answer = await send(desk, method, path, body, query, stale)
                assert answer.status_code == 412, (method, path, stale)
                error = answer.json()["error"]
                assert (error["code"], error["param"]) == ("precondition_failed", "If-Match")
                assert f"version {version} now" in error["message"]
                assert answer.headers["etag"] == f'"{version}"'
    assert await everything(desk.store) == before


async def test_a_write_with_the_current_version_is_made(desk: AdminClient) -> None:
    for method, path, body in WRITES:
        version = await desk.store.catalog.version()
        # Reads carry it, and so does the status.
        read = await desk.client.get("/admin/v1/providers")
        assert read.headers["etag"] == f'"{version}"'
        status = await desk.client.get("/admin/v1/config/version")
        assert status.headers["etag"] == f'"{version}"'
        if method == "DELETE":
            assert (await desk.client.get(f"/admin/v1{path}")).headers["etag"] == f'"{version}"'
        answer = await send(desk, method, path, body, "", read.headers["etag"])
        assert answer.status_code == (201 if method == "POST" and path in NEW else 200), (method, path)
        stored = await desk.store.catalog.version()
        assert answer.headers["etag"] == f'"{stored}"'
        # A PATCH that repeats a PUT changes nothing.
        assert stored == (version if method == "PATCH" else version + 1)


@pytest.mark.parametrize(
    "form", ['"{0}"', 'W/"{0}"', '"1", "{0}"', '"1","x" ,\tW/"{0}" , "2"', ', "{0}",', "*", ' "{0}" ']
)
async def test_forms_of_if_match(quick_desk: AdminClient, form: str) -> None:
    version = await quick_desk.store.catalog.version()
    answer = await send(quick_desk, "PATCH", "/providers/1", {"weight": 9}, "", form.format(version))
    assert (answer.status_code, answer.headers["etag"]) == (200, f'"{version + 1}"')


async def test_several_if_match_headers_are_one_list(quick_desk: AdminClient) -> None:
    version = await quick_desk.store.catalog.version()
    headers = [("If-Match", '"1"'), ("If-Match", f'"{version}"')]
    answer = await quick_desk.client.patch("/admin/v1/providers/1", json={"weight": 9}, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "header", ["", "5", '"5', '5"', '"5" "6"', '*, "5"', 'w/"5"', "'5'", '"a b"', ",", '"5";', "W/5", '""""']
)
async def test_a_malformed_if_match_is_400_and_writes_nothing(quick_desk: AdminClient, header: str) -> None:
    with pytest.raises(BadRequest, match='double quotes, as in "7"'):
        read_if_match(header)
    for method, path, body in WRITES:
        answer = await send(quick_desk, method, path, body, "", header)
        assert answer.status_code == 400, (method, path, answer.text)
        assert answer.json()["error"]["param"] == "If-Match"
    assert await quick_desk.store.catalog.version() == 5


async def test_an_edit_that_changes_nothing_still_has_to_match(quick_desk: AdminClient) -> None:
    assert (await send(quick_desk, "PATCH", "/providers/1", {}, "", '"1"')).status_code == 412
    assert (await send(quick_desk, "PATCH", "/providers/1", {}, "", '"5"')).status_code == 200


async def test_the_etag_of_a_row_is_of_the_rows_own_read(desk: AdminClient) -> None:
    """A change by SQL that this worker has not loaded yet counts too."""
    etag = (await desk.client.get("/admin/v1/providers/1")).headers["etag"]
    await desk.store.sql("UPDATE providers SET weight = 3")
    assert (await send(desk, "PATCH", "/providers/1", {"weight": 4}, "", etag)).status_code == 412
    read = await desk.client.get("/admin/v1/providers/1")
    assert (read.json()["weight"], read.headers["etag"]) == (3, '"6"')
    assert (await send(desk, "PATCH", "/providers/1", {"weight": 4}, "", '"6"')).status_code == 200


async def test_of_writers_at_once_with_the_same_version_exactly_one_succeeds(
    store_url: str | None, data_dir: Path
) -> None:
    """Two workers, each with connections of its own, so that the database alone decides."""
    async with opened(store_url, data_dir) as one, opened(store_url, data_dir) as two:
        await one.add_provider("shared")
        for round_number in range(8):
            version = await one.catalog.version()
            options = EditOptions(if_match=frozenset({version}))
            outcomes = await asyncio.gather(
                *(
                    worker.editor.update(
                        "shared", ProviderUpdate(weight=100 * (round_number + 1) + number), options
                    )
                    for number, worker in enumerate((one, two) * 3)
                ),
                return_exceptions=True,
            )
            won = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
            lost = [outcome for outcome in outcomes if isinstance(outcome, PreconditionFailed)]
            assert (len(won), len(lost)) == (1, 5), outcomes
            assert won[0].stored_version == version + 1 == await one.catalog.version()
            (provider,) = (await two.catalog.load()).providers
            assert provider.weight == won[0].row.weight
            assert all(f"version {version + 1} now" in error.message for error in lost)


async def test_a_dry_run_among_writers_neither_blocks_nor_stores(
    store_url: str | None, data_dir: Path
) -> None:
    async with opened(store_url, data_dir) as one, opened(store_url, data_dir) as two:
        await one.add_provider("shared")
        dry = EditOptions(dry_run=True)
        edits = [
            worker.editor.update("shared", ProviderUpdate(weight=number + 2), options)
            for number in range(6)
            for worker, options in ((one, EditOptions()), (two, dry))
        ]
        await asyncio.gather(*edits)
        assert await one.catalog.version() == 2 + 6
        noted = await one.sql("SELECT count(*) FROM config_versions")
        assert noted == [(7,)]
