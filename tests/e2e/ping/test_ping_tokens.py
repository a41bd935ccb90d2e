"""Tokens of dgen-ping's API against a running gateway: made, verified, accepted, refused, expired."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Launch
from tests.e2e.gateway_process import GatewayProcess, eventually
from tests.e2e.ping.conftest import SECRET, PingDesk
from tests.fakes.forged_tokens import forged_tokens, good_claims, token
from tests.fakes.upstream import FakeUpstream

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
FORGED = forged_tokens(SECRET)


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """Return the sentence of an error in this API's shape."""
    assert answer.status_code == status, answer.text
    sent = answer.json()
    assert [*sent] == ["detail", "error"]
    assert sent["error"]["code"] == code
    assert sent["error"]["request_id"] == answer.headers["x-request-id"]
    assert SECRET not in answer.text
    text: str = sent["detail"]
    return text


def test_a_token_is_made_s1_2(ping: PingDesk) -> None:
    answer = ping.generate({"soeid": "ab1234"})
    assert answer.status_code == 200
    sent = answer.json()
    assert [*sent] == ["token", "soeid", "timestamp"]
    assert sent["soeid"] == "ab1234"
    assert sent["token"].startswith("eyJ0eXAiOiJKV1QiLCJhbGc")
    assert TIME.fullmatch(sent["timestamp"])
    assert ping.generate({}).json()["soeid"] == "default_user"
    assert ping.generate({"soeid": ""}).json()["soeid"] == "default_user"


def test_a_token_is_verified_s1_3(ping: PingDesk) -> None:
    made = ping.generate({"soeid": "ab1234"}).json()["token"]
    sent = ping.verify(made)
    assert [*sent] == ["valid", "data", "timestamp"]
    assert (sent["valid"], sent["data"]) == (True, {"soeid": "ab1234"})
    assert TIME.fullmatch(sent["timestamp"])
    assert ping.verify(f" {made}\n")["valid"]


@pytest.mark.parametrize("what", ["", "1", "x", "sk-abc", *FORGED])
def test_a_token_that_is_not_valid_is_said_to_be_so(ping: PingDesk, what: str) -> None:
    sent = ping.verify(FORGED.get(what, what))
    assert (sent["valid"], sent["data"]) == (False, {})
    assert sent["detail"]


@pytest.mark.parametrize("path", ["/generate-token", "/verify-token"])
def test_tokens_are_for_who_knows_the_secret(ping: PingDesk, path: str) -> None:
    post = ping.gateway.http.post
    body = {"soeid": "x"} if path == "/generate-token" else {"token": "x"}
    text = refused(post(path, json=body), 401, "invalid_token_secret")
    assert "X-Token-Secret" in text
    for wrong in ("", "x", SECRET[:-1], SECRET + "0", SECRET.upper(), "dgen_secret_key"):
        refused(post(path, json=body, headers={"x-token-secret": wrong}), 401, "invalid_token_secret")
    two = [("x-token-secret", SECRET), ("x-token-secret", "other")]
    refused(post(path, json=body, headers=two), 400, "ambiguous_api_key")


@pytest.mark.parametrize(
    ("path", "body", "loc"),
    [
        ("/generate-token", b"", ["body"]),
        ("/generate-token", b"soeid=x", ["body"]),
        ("/generate-token", b"[]", ["body"]),
        ("/generate-token", b'{"soeid": 5}', ["body", "soeid"]),
        ("/generate-token", b'{"user": "x"}', ["body", "user"]),
        ("/generate-token", b'{"soeid": "a\\u0000b"}', ["body", "soeid"]),
        ("/generate-token", b'{"soeid": "' + b"x" * 300 + b'"}', ["body", "soeid"]),
        ("/verify-token", b"{}", ["body", "token"]),
        ("/verify-token", b'{"token": null}', ["body", "token"]),
    ],
)
def test_a_bad_body_is_422(ping: PingDesk, path: str, body: bytes, loc: list[str]) -> None:
    answer = ping.gateway.http.post(path, content=body, headers={"x-token-secret": SECRET})
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"][0]["loc"] == loc


def test_a_body_that_is_too_large_is_413(ping: PingDesk) -> None:
    answer = ping.generate({"soeid": "x" * 20_000})
    refused(answer, 413, "request_too_large")


def test_a_token_opens_this_api_and_no_other(ping: PingDesk) -> None:
    ping.provider()
    assert ping.complete().status_code == 200
    for headers in ({"authorization": f"Bearer {ping.token}"}, {"x-api-token": ping.token}):
        for path in ("/v1/models", "/admin/v1/providers"):
            assert ping.gateway.http.get(path, headers=headers).status_code == 401


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_token_is_refused(ping: PingDesk, what: str) -> None:
    answer = ping.complete(FORGED[what])
    code = "expired_token" if what.startswith("expired") else "invalid_token"
    text = refused(answer, 401, code)
    assert "generate-token" in text
    assert "mallory" not in answer.text


def test_an_empty_or_unknown_token_is_refused(ping: PingDesk) -> None:
    empty = ping.post("/api/llm/completion", None, json=ping.body(), headers={"x-api-token": ""})
    assert "empty" in refused(empty, 401, "invalid_api_key")
    refused(ping.complete("nobody-has-this-key"), 401, "invalid_api_key")
    refused(ping.complete("Bearer " + ping.token), 401, "invalid_api_key")


def test_the_default_token_and_no_token_are_refused_by_default_c8(ping: PingDesk) -> None:
    for token_sent in (None, "1"):
        text = refused(ping.complete(token_sent), 401, "invalid_api_key")
        assert "ALLOW_DEFAULT_TOKEN" in text


def test_several_different_tokens_are_refused(ping: PingDesk) -> None:
    ping.provider()
    headers = [("x-api-token", ping.token), ("x-api-token", "1")]
    answer = ping.gateway.http.post("/api/llm/completion", json=ping.body(), headers=headers)
    refused(answer, 400, "ambiguous_api_key")
    same = [("x-api-token", ping.token), ("x-api-token", ping.token)]
    answer = ping.gateway.http.post("/api/llm/completion", json=ping.body(), headers=same)
    assert answer.status_code == 200


def test_a_credential_of_the_gateway_works_s0_6(ping: PingDesk) -> None:
    ping.provider()
    name = f"ping-client-{ping.number}"
    key = ping.gateway.create_credential(name)
    answer = ping.complete(key)
    assert answer.status_code == 200
    row = ping.row_of(answer)
    assert (row["credential"], row["soeid"], row["end_user"]) == (name, "ab1234", "ab1234")
    limited = ping.gateway.create_credential(f"{name}-b", allowed_models=["others"])
    assert refused(ping.complete(limited), 403, "model_not_allowed")


def test_a_token_expires_while_its_connection_is_open(ping: PingDesk) -> None:
    ping.provider()
    # Valid for some seconds more: a minute is allowed for clocks that differ.
    short = token(SECRET, good_claims(sub="short", exp=time.time() - 54))
    assert ping.complete(short).status_code == 200
    answer = eventually(lambda: ping.complete(short), lambda answer: answer.status_code != 200, 30)
    assert "expired" in refused(answer, 401, "expired_token")


def test_the_row_of_the_surfaces_account_rules_its_callers(ping: PingDesk) -> None:
    ping.provider()
    assert ping.complete().status_code == 200
    made = ping.gateway.admin.post(
        "/credentials", json={"name": "surface:ping", "allowed_models": ["only-this-one"]}
    ).json()
    try:
        refused(ping.complete(), 403, "model_not_allowed")
    finally:
        ping.gateway.admin.delete(f"/credentials/{made['id']}").raise_for_status()
    assert ping.complete().status_code == 200


class Door:
    """A gateway with settings of its own, and one provider."""

    def __init__(self, gateway: GatewayProcess, fake: FakeUpstream) -> None:
        self.gateway = gateway
        self.lane = fake.lane(f"door-{id(self)}")
        gateway.create_provider("p", self.lane.base_url, model_mapping={"m": "m", "gemini": "m"})

    def complete(self, sent_token: str | None, **fields: Any) -> httpx.Response:
        headers = {} if sent_token is None else {"x-api-token": sent_token}
        body = {"prompt": "hello", "model": "m"} | fields
        return self.gateway.http.post("/api/llm/completion", json=body, headers=headers)

    def log(self) -> str:
        return self.gateway.stderr.read_text()


def test_without_a_secret_there_are_no_tokens_c9(launch: Launch, fake: FakeUpstream) -> None:
    door = Door(launch(), fake)
    post = door.gateway.http.post
    answers = [
        post("/generate-token", json={"soeid": "x"}, headers={"x-token-secret": "dgen_secret_key"}),
        post("/verify-token", json={"token": "1"}, headers={"x-token-secret": ""}),
        post("/telemetry", json={"event_type": "x"}),
        door.complete(None),
        door.complete("1"),
        door.complete(token("", good_claims())),
        door.complete(token("None", good_claims())),
        door.complete(FORGED["alg none"]),
    ]
    for answer in answers:
        assert "TOKEN_SECRET is not set" in refused(answer, 503, "token_secret_missing")
        assert answer.headers["x-should-retry"] == "false"
    # A credential needs no secret.
    assert door.complete(door.gateway.create_credential("c")).status_code == 200
    info = door.gateway.http.get("/info").json()
    assert info["authentication"]["tokens_configured"] is False
    assert "TOKEN_SECRET" not in door.log()


def test_a_well_known_secret_is_not_used_c9(launch: Launch, fake: FakeUpstream) -> None:
    door = Door(launch(TOKEN_SECRET="dgen_secret_key"), fake)
    answer = door.gateway.http.post(
        "/generate-token", json={"soeid": "x"}, headers={"x-token-secret": "dgen_secret_key"}
    )
    assert "everybody knows" in refused(answer, 503, "token_secret_missing")
    refused(door.complete(token("dgen_secret_key", good_claims())), 503, "token_secret_missing")
    assert "everybody knows" in door.log()
    assert "dgen_secret_key" not in door.log()


def test_the_default_token_is_anonymous_where_it_is_allowed_s0_10_s0_27_s0_39_s1_9_s1_10(
    launch: Launch, fake: FakeUpstream
) -> None:
    # S1's documented setup: its secret has 15 bytes, and is accepted for debugging alone.
    settings = {"DEBUG": "true", "TOKEN_SECRET": "dgen_secret_key", "ALLOW_DEFAULT_TOKEN": "true"}
    gateway = launch(**settings, DEFAULT_MODEL="gemini", WORKERS=2)
    door = Door(gateway, fake)
    for sent_token in (None, "1"):
        answer = door.complete(sent_token)
        assert answer.status_code == 200, answer.text
        row = gateway.usage_row(answer.headers["x-request-id"])
        assert (row["soeid"], row["end_user"], row["project"]) == (
            "default_user",
            "default_user",
            "default_project",
        )
    verified = gateway.http.post(
        "/verify-token", json={"token": "1"}, headers={"x-token-secret": "dgen_secret_key"}
    ).json()
    assert (verified["valid"], verified["data"]) == (True, {"soeid": "default_user"})
    refused(door.complete(FORGED["alg none"]), 401, "invalid_token")
    for path in ("/v1/models", "/admin/v1/providers"):
        assert gateway.http.get(path, headers={"x-api-token": "1"}).status_code == 401
    log = door.log()
    # Once for all workers.
    assert log.count("ALLOW_DEFAULT_TOKEN is true") == 1
    assert log.count("TOKEN_SECRET is a value that everybody knows") == 1
    assert "InsecureKeyLength" not in log


def test_a_short_secret_works_with_a_warning_c46_s1_12(launch: Launch, fake: FakeUpstream) -> None:
    door = Door(launch(TOKEN_SECRET="short_secret_15", TOKEN_LIFETIME=1), fake)
    made = door.gateway.http.post(
        "/generate-token", json={"soeid": "x"}, headers={"x-token-secret": "short_secret_15"}
    ).json()["token"]
    assert door.complete(made).status_code == 200
    log = door.log()
    assert log.count("TOKEN_SECRET has 15 bytes") == 1
    assert "short_secret_15" not in log
    assert "InsecureKeyLength" not in log
