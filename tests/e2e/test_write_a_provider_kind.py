"""docs/how-to/write-a-provider-kind.md: what it shows is installed word for word, and a gateway serves with it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.conftest import Launch
from tests.e2e.gateway_process import ADMIN_KEY, GatewayProcess, accepted
from tests.e2e.test_readme import Newcomer
from tests.fakes.plugin_packages import install, install_from_page, page_blocks, source
from tests.fakes.replay_server import Answered, Asked, ReplayServer, replaying
from tests.fakes.upstream import FakeUpstream

SECRET = "sk-known-to-one-header"
HEARD: dict[str, Any] = {"model": "polly", "messages": [{"role": "user", "content": "Who is there?"}]}
COUNTS = {"heard": 5, "said": 3}


class Parrot:
    """Plays the API of `parrot_llm`."""

    def __init__(self) -> None:
        # Set once the client has the first piece: what follows waits for it.
        self.heard = threading.Event()
        self.heard.set()
        self.problem: tuple[int, str] | None = None

    def play(self, asked: Asked) -> Answered:
        if asked.headers.get("x-parrot-key") != SECRET:
            return Answered(401, [b'{"problem":{"name":"stranger"}}'])
        if asked.path == "/cage":
            return Answered(200, [b'{"parrots":["polly-1","coco-2"]}'])
        assert (asked.method, asked.path) == ("POST", "/speak")
        if self.problem is not None:
            status, name = self.problem
            return Answered(status, [json.dumps({"problem": {"name": name, "text": "Squawk."}}).encode()])
        if asked.json["line_by_line"]:
            return Answered(200, self._lines(), "application/x-ndjson")
        return Answered(
            200, [json.dumps({"said": "Grüße, I am.", "ended": "done", "counts": COUNTS}).encode()]
        )

    def _lines(self) -> Iterator[bytes]:
        yield b'{"said":"Gr'
        yield '\u00fc\u00dfe, "}\n'.encode()
        assert self.heard.wait(10)
        yield b'{"said":"I am."}\n{"ended":"done",'
        yield b'"counts":' + json.dumps(COUNTS).encode() + b"}\n"


@pytest.fixture
def parrot() -> Parrot:
    return Parrot()


@pytest.fixture
def cage(parrot: Parrot) -> Iterator[ReplayServer]:
    with replaying(parrot.play) as server:
        yield server


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    return install_from_page(tmp_path / "site")


def test_s2_17_the_page_shows_what_is_tested() -> None:
    assert page_blocks("python") == [source("acme_llm"), source("parrot_llm")]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_s2_17_a_kind_like_openais_is_added_from_outside(
    launch: Launch, fake: FakeUpstream, packages: Path
) -> None:
    gateway = launch(PYTHONPATH=packages, WORKERS=2)
    _, commands = page_blocks("")
    newcomer = Newcomer(gateway, "")
    adding, testing = commands.strip().split("\n\n")
    lane = fake.lane("acme")
    made = json.loads(newcomer.shell(f"export ADMIN_KEY={ADMIN_KEY}\n{adding}"))
    assert (made["provider_type"], made["api_base"]) == ("acme", "https://api.acme.example/v1")
    accepted(gateway.admin.patch("/providers/acme-main", json={"api_base": lane.base_url, "api_key": SECRET}))
    tested = json.loads(newcomer.shell(f"export ADMIN_KEY={ADMIN_KEY}\n{testing}"))
    assert (tested["ok"], tested["model"]) == (True, "acme-fast-1")
    sdk = gateway.sdk(gateway.create_credential("x"))
    messages: Any = HEARD["messages"]
    whole = sdk.chat.completions.with_raw_response.create(model="fast", messages=messages)
    assert lane.calls[-1].header("x-acme-key") == SECRET
    assert lane.calls[-1].header("authorization") is None
    assert lane.calls[-1].json["model"] == "acme-fast-1"
    row = gateway.usage_row(whole.headers["x-request-id"])
    assert (row["provider"], row["outcome"], row["usage_source"]) == ("acme-main", "ok", "provider")
    chunks = list(sdk.chat.completions.create(model="fast", messages=messages, stream=True))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == whole.parse().choices[0].message.content
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(model="fast", messages=messages, logit_bias={"5": 1})
    assert (caught.value.param, caught.value.code) == ("logit_bias", "unsupported_by_provider")
    # Loaded before the workers were forked.
    log = gateway.stderr.read_text()
    assert log.count("Provider kind 'acme' comes from acme-llm 1.0") == 1


@pytest.fixture
def speaking(launch: Launch, packages: Path, cage: ReplayServer) -> GatewayProcess:
    gateway = launch(PYTHONPATH=packages)
    gateway.create_provider(
        "cage",
        cage.origin,
        provider_type="parrot",
        api_key=SECRET,
        weight=1000,
        model_mapping={"polly": "polly-1"},
    )
    return gateway


def test_s2_17_a_kind_with_another_wire_is_added_from_outside(
    speaking: GatewayProcess, cage: ReplayServer, parrot: Parrot
) -> None:
    sdk = speaking.sdk(speaking.create_credential("x"))
    whole = sdk.chat.completions.with_raw_response.create(**HEARD, max_tokens=7)
    assert json.loads(cage.asked[-1].body) == {
        "parrot": "polly-1",
        "turns": [{"by": "user", "text": "Who is there?"}],
        "line_by_line": False,
        "most": 7,
    }
    answer = whole.parse()
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Grüße, I am.", "stop")
    row = speaking.usage_row(whole.headers["x-request-id"])
    assert (row["prompt_tokens"], row["completion_tokens"], row["usage_source"]) == (5, 3, "provider")
    # Line by line: the client has the first one while the provider still waits.
    parrot.heard.clear()
    said, usage = [], None
    with sdk.chat.completions.create(**HEARD, stream=True, stream_options={"include_usage": True}) as stream:
        for chunk in stream:
            said += [choice.delta.content or "" for choice in chunk.choices]
            if said:
                parrot.heard.set()
            usage = chunk.usage
    assert "".join(said) == "Grüße, I am."
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (5, 3)
    listed = accepted(speaking.admin.get("/providers/cage/models"))
    assert [model["id"] for model in listed["data"]] == ["polly-1", "coco-2"]
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(**HEARD, tools=[{"type": "function", "function": {"name": "f"}}])
    assert (caught.value.param, caught.value.code) == ("tools", "unsupported_by_provider")


def test_s2_17_its_errors_are_acted_on_as_others_are(
    speaking: GatewayProcess, parrot: Parrot, fake: FakeUpstream
) -> None:
    sdk = speaking.sdk(speaking.create_credential("x"))
    parrot.problem = (422, "rude")
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        sdk.chat.completions.create(**HEARD)
    assert (caught.value.type, "Squawk." in str(caught.value)) == ("rude", True)
    speaking.create_provider("second", fake.lane("second").base_url, model_mapping={"polly": "m"})
    for problem in ((500, "asleep"), (200, "asleep"), (404, "no_such_parrot")):
        parrot.problem = problem
        raw = sdk.chat.completions.with_raw_response.create(**HEARD)
        row = speaking.usage_row(raw.headers["x-request-id"])
        assert (row["provider"], row["attempts"]) == ("second", 2), problem


@pytest.mark.parametrize(
    ("raised", "logged"), [("KeyError(7)", "KeyError: 7"), ("SystemExit(7)", "SystemExit: 7")]
)
def test_an_adapter_that_raises_costs_its_own_request_only(
    launch: Launch, fake: FakeUpstream, tmp_path: Path, raised: str, logged: str
) -> None:
    faulty = source("acme_llm").replace(
        'raise unsupported_field("Acme\'s API", "logit_bias")', f"raise {raised}"
    )
    faulty += (
        f"\ndef failing(provider: object) -> None:\n    raise {raised}\n\nADAPTER.models_request = failing\n"
    )
    site = install(tmp_path / "site", "acme-llm", {"acme": "acme_llm:ADAPTER"}, acme_llm=faulty)
    gateway = launch(PYTHONPATH=site)
    lane = fake.lane("faulty")
    gateway.create_provider("a", lane.base_url, provider_type="acme", model_mapping={"polly": "m"})
    sdk = gateway.sdk(gateway.create_credential("x"))
    with pytest.raises(openai.InternalServerError) as caught:
        sdk.chat.completions.create(**HEARD, logit_bias={"5": 1})
    assert caught.value.status_code == 500
    assert sdk.chat.completions.create(**HEARD).choices
    [row] = gateway.usage_rows(outcome="error")
    assert row["status_code"] == 500
    assert logged in gateway.stderr.read_text()
    gateway.create_provider("b", lane.base_url, model_mapping={"coco": "m"})
    shown = accepted(gateway.http.get("/health/detailed"))["providers"]
    assert {name: one["status"] for name, one in shown.items()} == {"a": "unhealthy", "b": "healthy"}


def test_a_plugin_that_breaks_takes_its_own_providers_only(
    launch: Launch, fake: FakeUpstream, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    install(site, "acme-llm", {"acme": "acme_llm:ADAPTER"}, acme_llm=source("acme_llm"))
    gateway = launch(PYTHONPATH=site)
    base = fake.lane("breaks").base_url
    gateway.create_provider("ours", base, provider_type="acme", model_mapping={"polly": "m"})
    gateway.create_provider("other", base, model_mapping={"polly": "m", "coco": "m"})
    assert gateway.stop() == 0
    (site / "acme_llm.py").write_text("raise RuntimeError('no licence')")
    shutil.rmtree(site / "__pycache__", ignore_errors=True)
    gateway.start()
    sdk = gateway.sdk(gateway.create_credential("x"))
    for _ in range(3):
        raw = sdk.chat.completions.with_raw_response.create(**HEARD)
        assert gateway.usage_row(raw.headers["x-request-id"])["provider"] == "other"
    [fault] = accepted(gateway.admin.get("/providers/ours"))["faults"]
    assert "provider_type 'acme' is unknown" in json.dumps(fault)
    assert "faults" not in accepted(gateway.admin.get("/providers/other"))
    log = gateway.stderr.read_text()
    assert (
        "The provider kind 'acme' is missing: acme-llm 1.0 (acme = acme_llm:ADAPTER) cannot be imported"
        in log
    )
    assert "RuntimeError: no licence" in log


@pytest.mark.parametrize(
    ("kinds", "change", "said"),
    [
        ({"acme": "acme_llm:AcmeAdapter"}, None, "it is the class AcmeAdapter"),
        ({"openai": "acme_llm:ADAPTER"}, None, "offers the provider kind 'openai', which is built in"),
        (
            {"acme": "acme_llm:ADAPTER"},
            lambda text: text.replace('name="acme"', 'name="acme", endpoints=("chat",)'),
            "its kind is invalid",
        ),
    ],
)
def test_an_unusable_plugin_keeps_the_gateway_from_starting(
    tmp_path: Path, kinds: dict[str, str], change: Callable[[str], str] | None, said: str
) -> None:
    text = source("acme_llm")
    site = install(tmp_path / "site", "acme-llm", kinds, acme_llm=text if change is None else change(text))
    gateway = GatewayProcess(tmp_path / "gateway", PYTHONPATH=site)
    try:
        gateway.launch()
        assert gateway.wait(30) == 2
    finally:
        gateway.close()
    log = gateway.stderr.read_text()
    assert said in log
    assert "acme-llm 1.0" in log
    assert "Traceback" not in log
