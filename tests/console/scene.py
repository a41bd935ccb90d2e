"""A gateway with rows of every kind and requests of every outcome, many with names that a careless page would run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from tests.e2e.gateway_process import ADMIN_KEY, GatewayProcess, accepted, eventually
from tests.fakes.script import Script, Tokens, error_body, script
from tests.fakes.upstream import FakeUpstream

VIEWER_KEY: Final = "test-viewer-key-0123456789"
# Text that becomes a script, a handler, a tag's end, a template's or a comment's, where it is not escaped.
SCRIPT: Final = "<script>alert('script')</script>"
IMAGE: Final = "\"'><img src=x onerror=alert('image')>"
ENDINGS: Final = "</title></textarea></style><svg onload=alert(1)>"
TEMPLATE: Final = "{{ 7 + 7 }}{% raise %}${7+7}"
LINK: Final = "javascript:alert('link')"
LONG: Final = "a-name-without-any-space-that-is-as-long-as-names-may-be-" * 3
# Letters that change what an attribute or an address means, and ones from right to left.
OTHER: Final = "50 % & \"quotes\" 'too' #1?x=1 \\ שלום עולם"
HOSTILE: Final = (SCRIPT, IMAGE, ENDINGS, TEMPLATE, LINK, LONG, OTHER)


@dataclass
class Scene:
    """A gateway and what it knows."""

    gateway: GatewayProcess
    # Values for the parameters in paths: a row's id by the noun of its resource, and others by their names.
    places: dict[str, str] = field(default_factory=dict)
    key: str = ""
    # Chats so far.
    sent: int = 0

    @property
    def origin(self) -> str:
        return self.gateway.origin

    def create(self, noun: str, **body: Any) -> dict[str, Any]:
        """Create a row by the admin API; the first of each noun is the one whose pages are visited."""
        made = accepted(self.gateway.admin.post(f"/{noun}", json=body))
        self.places.setdefault(noun, str(made["id"]))
        return made

    def chat(self, model: str, key: str | None = None, **options: Any) -> str:
        """Send a chat, whatever comes of it, and return the id of the request."""
        self.sent += 1
        fields = options.pop("fields", {})
        body = {"model": model, "messages": [{"role": "user", "content": SCRIPT}]} | fields
        response = self.gateway.post("/v1/chat/completions", key or self.key, json=body, **options)
        return str(response.headers["x-request-id"])


def set_scene(gateway: GatewayProcess, fake: FakeUpstream) -> Scene:
    """Fill a gateway that has just started."""
    # A session that has ended.
    scene = Scene(gateway, {"sessions": "0123456789abcdef", "version": "2"})
    _rows(scene, fake)
    _requests(scene)
    return scene


def _rows(scene: Scene, fake: FakeUpstream) -> None:
    good, failing = fake.lane("good"), fake.lane("failing")
    failing.default = Script(status=500, body=error_body(f"{SCRIPT} {IMAGE}"), ignore_stream=True)
    for name in (SCRIPT, OTHER):
        scene.create("tenants", name=name, limits={"requests_per_minute": 100_000})
    scene.create("tenants", name="closed", is_enabled=False)
    scene.create("projects", name=IMAGE, tenant=SCRIPT)
    scene.create(
        "providers",
        provider_key=SCRIPT.replace("/", "|"),
        provider_type="openai",
        api_base=good.base_url,
        api_key="sk-upstream-secret",
        model_mapping={"gpt-4o": "gpt-4o", SCRIPT: IMAGE, "shared": "gpt-4o-mini"},
        price_provider="openai",
        weight=3,
    )
    scene.create(
        "providers",
        provider_key="failing",
        provider_type="openai",
        api_base=failing.base_url,
        api_key="sk-upstream-secret",
        model_mapping={"broken": "broken", "shared": "gpt-4o-mini"},
    )
    for kind in ("anthropic", "gemini"):
        scene.create(
            "providers",
            provider_key=f"{kind}-{LONG[:60]}",
            provider_type=kind,
            api_base="http://127.0.0.1:9/v1",
            api_key="env:NOT_SET",
            model_mapping={kind: kind},
            is_enabled=False,
        )
    scene.create("models", name=SCRIPT, fallbacks=["gpt-4o", IMAGE], cache={"ttl": 60})
    scene.create("models", name="shared", weights={"failing": 2, LONG[:100]: 1})
    scene.create("task-types", name=SCRIPT, models=[SCRIPT, "gpt-4o", "served-by-nobody"])
    for name in HOSTILE:
        made = scene.create(
            "credentials", name=name, tenant=SCRIPT, project=IMAGE, trusts_attribution=True, expires_at=None
        )
        scene.key = scene.key or made["key"]
    scene.create("credentials", name="narrow", allowed_models=["gpt-4o", IMAGE], rate_limit=0)
    revoked = scene.create("credentials", name="revoked")
    accepted(scene.gateway.admin.post(f"/credentials/{revoked['id']}/revoke"))
    scene.create("budgets", name=SCRIPT, scope="all", amount_usd="25", period="month")
    scene.create("budgets", name=IMAGE, scope="credential", subject=SCRIPT, amount_usd="5", period="day")
    scene.create(
        "budgets", name="each user", scope="user", amount_usd="1", period="total", models=["gpt-4o*"]
    )
    scene.create(
        "prices",
        provider=SCRIPT.replace("/", "|"),
        upstream_model=IMAGE,
        prices={"input_tokens": "2.5", "output_tokens": "10"},
        valid_from="2024-01-01T00:00:00Z",
    )


def _requests(scene: Scene) -> None:
    hostile = {
        "x-request-id": f"{SCRIPT}{IMAGE}",
        "x-llm-gateway-agent": SCRIPT,
        "x-llm-gateway-user": IMAGE,
        "x-llm-gateway-tags": f'team="{SCRIPT}"',
    }
    tokens = script(tokens=Tokens(prompt=1200, completion=345, cached=200, reasoning=45))
    fields = {"fake": tokens}
    shown = scene.chat("gpt-4o", headers=hostile, fields=fields)
    scene.places["request_id"] = shown
    # What created the first tenant.
    scene.places["version"] = "2"
    for stream in (False, True):
        for model in (SCRIPT, "gpt-4o", "shared", "broken"):
            scene.chat(model, fields=fields | {"stream": stream})
    scene.chat(IMAGE)
    scene.chat(ENDINGS, headers={"x-request-id": LONG})
    scene.chat("gpt-4o", key="sk-nobody")
    # Refused requests may share a row.
    eventually(lambda: sum(row["requests"] for row in scene.gateway.usage_rows()), scene.sent.__eq__)


@contextlib.contextmanager
def signed_in(scene: Scene, key: str = ADMIN_KEY, **headers: str) -> Iterator[httpx.Client]:
    """Yield a client with the cookie of a new session, that sends forms as a page does and follows nothing."""
    given = {"origin": scene.origin} | {name.replace("_", "-"): value for name, value in headers.items()}
    options: Any = {"headers": given, "timeout": 15, "trust_env": False, "verify": False}
    with httpx.Client(base_url=scene.origin, **options) as client:
        response = client.post("/console/sign-in", data={"key": key})
        assert response.status_code == 303, response.text
        yield client
