"""The admin API as S4, C15 to C23 and C31 have it: CRUD, merging writes, what comes back and what is refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Desk
from tests.e2e.gateway_process import accepted


def create(desk: Desk, noun: str, body: Any) -> httpx.Response:
    return desk.gateway.admin.post(f"/{noun}", json=body)


def a_provider(desk: Desk, **fields: Any) -> dict[str, Any]:
    base = {
        "provider_key": f"p-{desk.number}",
        "provider_type": "openai",
        "api_base": "http://127.0.0.1:9/v1",
        "api_key": "sk-secret-of-the-provider",
        "model_mapping": {desk.model: "x"},
    }
    return base | fields


def test_s4_38_create_shows_everything_but_the_secret(desk: Desk) -> None:
    answer = create(desk, "providers", a_provider(desk, weight=3))
    assert answer.status_code == 201
    made = answer.json()
    desk._providers.append(made["id"])
    assert made["provider_key"] == f"p-{desk.number}"
    assert (made["weight"], made["is_enabled"], made["model_mapping"]) == (3, True, {desk.model: "x"})
    assert made["api_base"] == "http://127.0.0.1:9/v1"
    assert "sk-secret-of-the-provider" not in answer.text
    assert answer.headers["x-request-id"]


def test_s4_40_c16_a_provider_is_found_by_id_and_by_key(desk: Desk) -> None:
    made = accepted(create(desk, "providers", a_provider(desk)))
    admin = desk.gateway.admin
    assert accepted(admin.get(f"/providers/{made['id']}")) == accepted(
        admin.get(f"/providers/p-{desk.number}")
    )
    assert admin.delete(f"/providers/p-{desk.number}").status_code == 200
    again = accepted(create(desk, "providers", a_provider(desk)))
    desk._providers.append(again["id"])
    assert again["id"] > made["id"], "ids are never reused"


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_s4_41_c18_what_is_left_out_stays(desk: Desk, method: str) -> None:
    lane = desk.provider("merged", weight=4, api_key="sk-kept-secret")
    url = f"/providers/{lane.name}"
    other = {desk.model: "renamed"}
    changed = accepted(desk.gateway.admin.request(method, url, json={"model_mapping": other}))
    assert (changed["weight"], changed["model_mapping"], changed["api_base"]) == (4, other, lane.base_url)
    assert desk.chat().status_code == 200
    assert lane.last.json["model"] == "renamed"
    assert lane.last.header("authorization") == "Bearer sk-kept-secret"
    accepted(desk.gateway.admin.request(method, url, json={"api_key": "sk-new-secret"}))
    desk.chat()
    assert lane.last.header("authorization") == "Bearer sk-new-secret"


def test_a_write_is_in_force_when_it_answers(desk: Desk) -> None:
    lane = desk.provider()
    url = f"/providers/{lane.name}"
    for _ in range(5):
        accepted(desk.gateway.admin.patch(url, json={"is_enabled": False}))
        assert desk.chat().status_code == 404
        accepted(desk.gateway.admin.patch(url, json={"is_enabled": True}))
        assert desk.chat().status_code == 200


def test_c2_weight_0_takes_no_new_requests(desk: Desk) -> None:
    lane = desk.provider()
    other = desk.provider("other", weight=0)
    for _ in range(4):
        assert desk.chat().status_code == 200
    assert (len(lane.chats), len(other.chats)) == (4, 0)
    accepted(desk.gateway.admin.patch(f"/providers/{lane.name}", json={"weight": 0}))
    assert desk.chat().status_code == 503


def test_c15_a_key_is_made_and_shown_once(desk: Desk) -> None:
    answer = create(desk, "credentials", {"name": f"once-{desk.number}"})
    made = answer.json()
    assert answer.status_code == 201
    assert made["key"].startswith("sk-")
    assert len(made["key"]) > 30
    shown = accepted(desk.gateway.admin.get(f"/credentials/{made['id']}"))
    assert made["key"] not in str(shown)
    assert "key" not in shown or shown["key"] is None
    listing = desk.gateway.admin.get("/credentials", params={"limit": 500})
    assert made["key"] not in listing.text
    for refused in (None, "", "a" * 257, "tab\tinside", 7):
        answer = create(desk, "credentials", {"name": "x", "key": refused})
        assert answer.status_code == 422
        assert answer.json()["error"]["param"] == "key"


def test_c17_credentials_can_be_changed_and_deleted(desk: Desk) -> None:
    desk.provider()
    made = accepted(
        create(desk, "credentials", {"name": f"changed-{desk.number}", "allowed_models": ["nothing"]})
    )
    key, url = made["key"], f"/credentials/{made['id']}"
    admin, post = desk.gateway.admin, desk.gateway.post
    assert post("/v1/chat/completions", key, json=desk.body()).status_code == 403
    accepted(admin.patch(url, json={"allowed_models": None}))
    assert post("/v1/chat/completions", key, json=desk.body()).status_code == 200
    accepted(admin.put(url, json={"is_enabled": False}))
    assert post("/v1/chat/completions", key, json=desk.body()).status_code == 401
    accepted(admin.put(url, json={"is_enabled": True}))
    rotated = accepted(admin.post(url + "/rotate", json={"overlap": 0}))["key"]
    assert rotated != key
    assert post("/v1/chat/completions", key, json=desk.body()).status_code == 401
    assert post("/v1/chat/completions", rotated, json=desk.body()).status_code == 200
    assert admin.delete(url).status_code == 200
    assert post("/v1/chat/completions", rotated, json=desk.body()).status_code == 401


def test_c31_conflicts_and_unknown_ids(desk: Desk) -> None:
    desk.provider("taken")
    answer = create(desk, "providers", a_provider(desk, provider_key=f"taken-{desk.number}"))
    assert answer.status_code == 409
    key = desk.credential("-taken", key=f"sk-taken-{desk.number}")
    answer = create(desk, "credentials", {"name": "again", "key": key})
    assert answer.status_code == 409
    assert key not in answer.text
    for url in ("/providers/999999", "/providers/no-such", "/credentials/999999", "/no-such-noun"):
        missing = desk.gateway.admin.get(url)
        assert missing.status_code == 404
        assert set(missing.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weight", -1),
        ("weight", "many"),
        ("weight", 1.5),
        ("provider_type", "no-such-kind"),
        ("api_base", "ftp://example.com"),
        ("api_base", "not a url"),
        ("api_base", "http://user:password@example.com/v1"),
        ("model_mapping", {"": "x"}),
        ("model_mapping", ["a"]),
        ("model_mapping", {"a": 1}),
        ("is_enabled", "perhaps"),
        ("provider_key", ""),
        ("provider_key", None),
        ("no_such_field", 1),
    ],
)
def test_s4_11_c31_bad_provider_values_name_the_field(desk: Desk, field: str, value: Any) -> None:
    before = desk.gateway.config_version()
    answer = create(desk, "providers", a_provider(desk, **{field: value}))
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert field in f"{error['param']} {error['message']}"
    assert "password" not in error["message"] or "put the secret" in error["message"]
    assert desk.gateway.config_version() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rate_limit", -1),
        ("rate_limit", "x"),
        ("allowed_models", "gpt-4"),
        ("allowed_models", [1]),
        ("name", ""),
    ],
)
def test_s4_11_c31_bad_credential_values_name_the_field(desk: Desk, field: str, value: Any) -> None:
    answer = create(desk, "credentials", {"name": desk.name, field: value})
    assert answer.status_code == 422, answer.text
    assert field in str(answer.json()["error"]["param"])


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff", b'{"name": "\\ud800"}', b"[" * 100_000]
)
def test_admin_bodies_that_are_no_json_object(desk: Desk, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = desk.gateway.admin.post("/credentials", content=content, headers=headers)
    assert answer.status_code in {400, 422}, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_s4_31_the_admin_key_is_needed_and_a_credential_is_none(desk: Desk) -> None:
    for key in (None, "wrong", desk.key):
        headers = {"authorization": f"Bearer {key}"} if key else {}
        for method, path in (
            ("GET", "/providers"),
            ("POST", "/config/reload"),
            ("GET", "/usage"),
            ("GET", "/x"),
        ):
            answer = desk.gateway.http.request(method, f"/admin/v1{path}", headers=headers)
            assert answer.status_code == 401, (key, path)
            assert answer.json()["error"]["code"]
    # Refused before the body is read: a body that is no JSON makes no difference.
    assert desk.gateway.http.post("/admin/v1/providers", content=b"{").status_code == 401


def test_lists_come_in_pages(desk: Desk) -> None:
    for number in range(3):
        desk.provider(f"page{number}")
    seen: list[int] = []
    cursor = None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = accepted(desk.gateway.admin.get("/providers", params=query))
        assert len(page["data"]) <= 2
        seen += [row["id"] for row in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        assert isinstance(cursor, str)
    assert len(seen) == len(set(seen)) >= 3
    assert set(desk._providers) <= set(seen)


def test_s4_46_version_counts_writes_alone(desk: Desk) -> None:
    before = desk.gateway.config_version()
    assert accepted(desk.gateway.admin.post("/config/reload"))["version"] == before
    desk.provider()
    assert desk.gateway.config_version() > before


def test_s4_4_c19_globs_in_the_mapping(desk: Desk) -> None:
    number = desk.number
    lane = desk.provider(
        model_mapping={f"exact-{number}": "one", f"fast-*-{number}": "*", f"slow-{number}-?": "the-slow-one"}
    )
    for model, upstream in (
        (f"exact-{number}", "one"),
        (f"fast-a-{number}", f"fast-a-{number}"),
        (f"slow-{number}-1", "the-slow-one"),
    ):
        assert desk.chat(model=model).status_code == 200
        assert lane.last.json["model"] == upstream
    for model in (f"exact-{number}x", f"slow-{number}-12", f"FAST-a-{number}"):
        assert desk.chat(model=model).status_code == 404


def test_c33_allowed_models_globs(desk: Desk) -> None:
    desk.provider(model_mapping={f"gpt-4-{desk.number}": "a", f"gpt-4o-{desk.number}": "b"})
    key = desk.credential("-globs", allowed_models=[f"gpt-4?-{desk.number}"])
    post = desk.gateway.post
    assert post("/v1/chat/completions", key, json=desk.body(model=f"gpt-4o-{desk.number}")).status_code == 200
    assert post("/v1/chat/completions", key, json=desk.body(model=f"gpt-4-{desk.number}")).status_code == 403
