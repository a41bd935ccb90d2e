from __future__ import annotations

from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Query
from fastapi.testclient import TestClient

from llm_gateway.admin.query_parameters import refuse_unknown_parameters
from llm_gateway.core.errors import Unprocessable


def _inner(dry_run: bool = False) -> bool:
    return dry_run


@pytest.fixture
def client() -> TestClient:
    router = APIRouter(dependencies=[Depends(refuse_unknown_parameters)])

    @router.get("/things/{thing}")
    def thing(
        thing: str,
        inner: Annotated[bool, Depends(_inner)],
        since: Annotated[str | None, Query(alias="from")] = None,
    ) -> str:
        return f"{thing} {since} {inner}"

    @router.get("/bare")
    def bare() -> str:
        return "bare"

    app = FastAPI()
    app.include_router(router)
    return TestClient(app)


def test_known_parameters_pass_those_of_dependencies_too(client: TestClient) -> None:
    assert client.get("/things/a?from=b&dry_run=true").json() == "a b True"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("since=b", r"^since: unknown query parameter; GET /things/a takes dry_run, from$"),
        ("thing=b", r"^thing: unknown"),
        ("dryrun=true", r"^dryrun: unknown"),
        ("from=a&from=a", r"^from: sent more than once$"),
        ("%00=1", "unknown"),
        (f"{'x' * 5000}=1", r"^x{100}: unknown"),
    ],
)
def test_unknown_or_repeated_parameters_are_refused(client: TestClient, query: str, message: str) -> None:
    with pytest.raises(Unprocessable, match=message):
        client.get(f"/things/a?{query}")


def test_a_route_without_parameters_says_so(client: TestClient) -> None:
    with pytest.raises(Unprocessable, match="GET /bare takes none"):
        client.get("/bare?x=1")
