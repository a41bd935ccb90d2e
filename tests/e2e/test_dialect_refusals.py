"""Requests that fail before anything is answered: each dialect says what /v1 says, in its own words.

Status, `Retry-After`, code and usage row are compared with those of the same request to /v1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from tests.e2e.fault_run import open_client
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.fakes.client_dialects import DIALECTS, OPENAI, SETTINGS, TRANSLATED
from tests.fakes.script import Script, error_script
from tests.fakes.upstream import FakeUpstream
from tests.services import free_port, run_alone

MAX_BODY_BYTES = 20_000
LIMITS = {"MAX_REPLY_BYTES": 100_000, "MAX_EVENT_BYTES": 100_000}
# What a provider answers; it is the only one, and asked once.
PROVIDERS: dict[str, Script] = {
    "429": error_script(429),
    "429-wait": error_script(429, retry_after="7"),
    "429-long-wait": error_script(429, retry_after="120"),
    "500": error_script(500),
    "503-wait": error_script(503, retry_after="7"),
    "401": error_script(401),
    "400": error_script(400),
    "403": error_script(403),
    "404": error_script(404),
    "422": error_script(422),
    "html": Script(body=b"<html>bad gateway</html>", content_type="text/html", ignore_stream=True),
    "stall": Script(fault="stall"),
    "reset": Script(fault="reset"),
    "too-large": Script(pieces=("x" * 200_000,)),
}
# What is refused without a provider.
OWN = ("nobody-listens", "no-such-model", "no-key", "not-json", "over-size", "blocked", "not-allowed")
# FastAPI's status of a faulty body.
OTHER_STATUS = {("ping", "not-json"): 422, ("agents", "not-json"): 422}


class Asked(NamedTuple):
    """One request."""

    dialect: str
    case: str
    stream: bool


ALL = [
    Asked(dialect, case, stream)
    for dialect in DIALECTS
    for case in (*PROVIDERS, *OWN)
    for stream in (False, True)
]


class Refusals:
    """All requests of a gateway, and what came of each."""

    def __init__(self, gateway: GatewayProcess, fake: FakeUpstream) -> None:
        self.gateway = gateway
        self._fake = fake
        self.answers: dict[Asked, httpx.Response] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, str] = {}

    def prepare(self) -> None:
        """Add a provider for each request, so that no circuit breaker knows another one, and the credentials."""
        for asked in ALL:
            model = model_of(asked)
            lane = self._fake.lane(f"refusals-{model}")
            if asked.case in PROVIDERS:
                lane.default = PROVIDERS[asked.case]
            elif asked.case == "no-such-model":
                continue
            base = lane.base_url
            if asked.case == "nobody-listens":
                base = f"http://127.0.0.1:{free_port()}/v1"
            self.gateway.create_provider(model, base, model_mapping={model: model})
        create = self.gateway.create_credential
        self._keys = {
            "blocked": create("blocked", rate_limit=0),
            "not-allowed": create("not-allowed", allowed_models=[]),
            "": create("usual"),
        }

    async def run(self) -> None:
        """Ask for everything at once; the agents, who have one account, in turns."""
        turns: dict[str, list[Asked]] = {"": []}
        for asked in ALL:
            own = asked.dialect == "agents" and asked.case in self._keys
            turns.setdefault(asked.case if own else "", []).append(asked)
        async with open_client() as client:
            await self._ask_all(client, turns[""])
            made = accepted(self.gateway.admin.post("/credentials", json={"name": "surface:agents"}))
            for case, changed in (("blocked", {"rate_limit": 0}), ("not-allowed", {"allowed_models": []})):
                given: dict[str, Any] = {"rate_limit": None, "allowed_models": None, **changed}
                accepted(self.gateway.admin.patch(f"/credentials/{made['id']}", json=given))
                await self._ask_all(client, turns[case])
        ids = {answer.headers["x-request-id"] for answer in self.answers.values()}
        rows = eventually(
            lambda: {row["request_id"]: row for row in self.gateway.usage_rows(limit=1000)},
            # Refusals of no credential share rows.
            lambda found: len(ids - found.keys()) <= 2 * len(DIALECTS),
            20,
        )
        self.rows = rows

    async def _ask_all(self, client: httpx.AsyncClient, wanted: list[Asked]) -> None:
        answers = await asyncio.gather(*(self._ask(client, asked) for asked in wanted))
        self.answers.update(zip(wanted, answers, strict=True))

    async def _ask(self, client: httpx.AsyncClient, asked: Asked) -> httpx.Response:
        dialect = DIALECTS[asked.dialect]
        text = "x" * MAX_BODY_BYTES if asked.case == "over-size" else "hello"
        headers = dialect.headers(self._keys.get(asked.case, self._keys[""]))
        if asked.case == "no-key":
            headers = {}
        url = self.gateway.origin + dialect.path
        if asked.case == "not-json":
            return await client.post(url, headers=headers, content=b'{"model": oops}')
        body = dialect.body(model_of(asked), text, stream=asked.stream)
        return await client.post(url, headers=headers, json=body)


def model_of(asked: Asked) -> str:
    return f"{asked.case}.{asked.dialect}.{'streamed' if asked.stream else 'whole'}"


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory, fake: FakeUpstream) -> Iterator[Refusals]:
    settings = {**SETTINGS, "RETRY_ATTEMPTS": 1, "LLM_TIMEOUT": 6, "MAX_BODY_BYTES": MAX_BODY_BYTES, **LIMITS}
    gateway = GatewayProcess(tmp_path_factory.mktemp("refusals"), **settings)
    try:
        played = Refusals(gateway.start(), fake)
        played.prepare()
        run_alone(played.run())
        yield played
        assert gateway.stop() == 0, gateway.log()
        assert gateway.distress() == [], gateway.log()
    finally:
        gateway.close()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", [*PROVIDERS, *OWN])
@pytest.mark.parametrize("dialect", TRANSLATED)
def test_a_refusal_is_the_one_of_v1(refusals: Refusals, dialect: str, case: str, stream: bool) -> None:
    asked = Asked(dialect, case, stream)
    answer, known = refusals.answers[asked], refusals.answers[asked._replace(dialect=OPENAI.name)]
    assert known.status_code >= 400
    assert answer.status_code == OTHER_STATUS.get((dialect, case), known.status_code), answer.text
    for name in ("content-type", "retry-after", "x-should-retry"):
        assert answer.headers.get(name) == known.headers.get(name), name
    said, told = DIALECTS[dialect].read_whole(answer.content), OPENAI.read_whole(known.content)
    if case != "no-key":
        # Whose name for it says which header it belongs into.
        assert said.error == told.error
    assert said.request_id == answer.headers["x-request-id"]
    for secret in ("sk-upstream-secret", "127.0.0.1", "Traceback"):
        assert secret not in answer.text
    if known.headers.get("x-should-retry") == "false" and case in OWN:
        assert "again" not in answer.text.lower(), answer.text
    row = refusals.rows.get(answer.headers["x-request-id"])
    if case == "no-key":
        return
    assert row is not None
    reference = refusals.rows[known.headers["x-request-id"]]
    for name in ("outcome", "error_type", "attempts"):
        assert row[name] == reference[name], name
    assert row["provider"] == (None if reference["provider"] is None else model_of(asked))
    assert row["status_code"] == answer.status_code
    assert row["endpoint"] == DIALECTS[dialect].path
    assert row["response_bytes"] == len(answer.content)
