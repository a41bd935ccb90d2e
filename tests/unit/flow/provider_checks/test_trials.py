"""What an admin hears of a provider that is tried out: the truth, in plain words, without a secret."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.core.errors import Unprocessable, UpstreamFailed, UpstreamTimedOut
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.listeners import ProviderTest
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.flow.provider_checks.trials import ProviderTester
from llm_gateway.providers.registry import ADAPTERS, KINDS
from llm_gateway.wire.errors import BadReply
from tests.fakes.in_memory import FakeGateway, FakeReply, ScriptedUpstream, provider

GRANT = ClientCredentials(token_url="https://sso.test/token", client_id="c")
MODELS = {"object": "list", "data": [{"id": "gpt-a"}, {"id": "gpt-b"}, {"id": "other"}]}


def said(text: str | None = "OK.", **more: Any) -> FakeReply:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return FakeReply(msgspec.json.encode({"id": "x", "choices": [choice], "usage": usage} | more))


def listed(names: Any = MODELS) -> FakeReply:
    return FakeReply(msgspec.json.encode(names))


def refused(status: int, message: str = "No.") -> FakeReply:
    return FakeReply(msgspec.json.encode({"error": {"message": message}}), status=status)


class Trials:
    def __init__(self, *answers: Any) -> None:
        self.bench = FakeGateway(upstream=ScriptedUpstream(p=list(answers)))
        self.heard: list[ProviderTest] = []
        self.tester = ProviderTester(self.bench.gateway, KINDS, self)

    def tested(self, result: ProviderTest) -> None:
        self.heard.append(result)

    async def test(self, model: str | None = None, **fields: Any) -> ProviderTest:
        result = await self.tester.test(provider("p", **fields), model)
        assert self.heard == [result], "the log hears of it"
        assert (self.bench.recorder.records, self.bench.recorder.begun) == ([], [])
        shown = repr(result)
        for secret in ("sk-secret-of-p", "p.test", "https:", "token-0", "sso.test"):
            assert secret not in shown
        return result

    @property
    def sent(self) -> Any:
        return msgspec.json.decode(self.bench.upstream.requests[-1].body)


async def test_s2_27_one_tiny_request_and_what_came_back() -> None:
    trials = Trials(said())
    result = await trials.test("gpt-b")
    assert (result.ok, result.status, result.model, result.text) == (True, 200, "gpt-b", "OK.")
    assert result.usage is not None
    assert result.usage.total_tokens == 5
    assert result.error is result.advice is None
    assert result.latency_ms >= 0
    assert trials.sent == {
        "model": "gpt-b",
        "messages": [{"role": "user", "content": "Say OK."}],
        "max_completion_tokens": 16,
    }
    assert len(trials.bench.upstream.requests) == 1


@pytest.mark.parametrize("enabled", [True, False])
async def test_a_disabled_or_drained_provider_is_tested_too(enabled: bool) -> None:
    assert (await Trials(said()).test("m", is_enabled=enabled, weight=0)).ok


@pytest.mark.parametrize(
    ("mapping", "asked", "upstream"),
    [
        ({"fast": "gpt-fast", "slow": "gpt-slow"}, None, "gpt-fast"),
        ({"fast": "gpt-fast", "slow": "gpt-slow"}, "slow", "gpt-slow"),
        ({"fast": "gpt-fast"}, "gpt-else", "gpt-else"),
        ({"gpt-*": "*", "fast": "gpt-fast"}, None, "gpt-fast"),
        ({"any-*": "gpt-one"}, None, "gpt-one"),
        ({"any-*": "gpt-one"}, "any-thing", "gpt-one"),
        ({"gpt-*": "*"}, "gpt-x", "gpt-x"),
    ],
)
async def test_the_model_is_the_one_named_or_the_first_mapped(
    mapping: dict[str, str], asked: str | None, upstream: str
) -> None:
    trials = Trials(said())
    assert (await trials.test(asked, model_mapping=mapping)).model == upstream
    assert trials.sent["model"] == upstream


@pytest.mark.parametrize(
    ("mapping", "upstream"), [({}, "gpt-a"), ({"o*": "*"}, "other"), ({"nothing-*": "*"}, "gpt-a")]
)
async def test_without_a_mapped_model_the_first_listed_is_asked(
    mapping: dict[str, str], upstream: str
) -> None:
    trials = Trials(listed(), said())
    assert (await trials.test(model_mapping=mapping)).model == upstream
    assert [request.method for request in trials.bench.upstream.requests] == ["GET", "POST"]


async def test_a_list_without_models_asks_for_a_name() -> None:
    result = await Trials(listed({"data": []})).test()
    assert (result.ok, result.model, result.status) == (False, None, None)
    assert result.advice is not None
    assert "model" in result.advice


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (400, "another model"), (401, "api_key"), (402, "out of credit"), (403, "permission"), (404, "api_base"),
        (418, "provider_type"), (422, "provider_type"), (429, "limit"), (500, "later"), (503, "later"),
    ],
)  # fmt: skip
async def test_a_refusal_comes_in_the_providers_words_with_what_to_do(status: int, advice: str) -> None:
    result = await Trials(refused(status, "Key sk-secret-of-p at https://p.test/v1 is bad")).test("m")
    assert (result.ok, result.status, result.text) == (False, status, None)
    assert result.error == f"The provider answered with status {status}: Key [secret] at [provider] is bad."
    assert result.advice is not None
    assert advice in result.advice


@pytest.mark.parametrize(
    ("answer", "error", "advice"),
    [
        (TransportError("connect", "no connection"), "No connection.", "api_base"),
        (TransportError("proxy", "the proxy refused the connection"), "The proxy refused", "HTTP_PROXY"),
        (TransportError("timeout", "no reply in time"), "No reply in time.", "again"),
        (TransportError("cut", "the connection ended"), "The connection ended.", "reach"),
        (TransportError("protocol", "the reply is not HTTP"), "The reply is not HTTP.", "provider_type"),
        (FakeReply(b"<html>"), "could not be read", "provider_type"),
        (FakeReply(TransportError("cut", "cut")), "Cut.", "reach"),
        (FakeReply(b"", status=502), "The provider answered with status 502.", "later"),
        (
            FakeReply(b'{"error": {"message": "Overloaded."}}'),
            "The provider reported an error with status 200: Overloaded.",
            "later",
        ),
    ],
    ids=range(9),
)
async def test_what_is_no_reply_is_told(answer: Any, error: str, advice: str) -> None:
    result = await Trials(answer).test("m")
    assert not result.ok
    assert result.error is not None
    assert error in result.error
    assert result.advice is not None
    assert advice in result.advice


async def test_a_reply_without_text_is_a_reply() -> None:
    result = await Trials(said(None)).test("m")
    assert (result.ok, result.text) == (True, None)


@pytest.mark.parametrize("choices", [[], None, "odd"])
async def test_a_reply_without_an_answer_is_none(choices: Any) -> None:
    result = await Trials(said("x", choices=choices)).test("m")
    assert not result.ok


async def test_a_long_text_is_cut_and_a_secret_in_it_taken_out() -> None:
    result = await Trials(said("sk-secret-of-p " * 100)).test("m")
    assert result.text is not None
    assert len(result.text) <= 200


async def test_the_time_is_bounded_over_all_steps() -> None:
    trials = Trials(said())
    trials.bench.upstream.answers["p"] = [
        FakeReply(29.0, msgspec.json.encode(MODELS), clock=trials.bench.clock),
        FakeReply(2.0, b"{}", clock=trials.bench.clock),
    ]
    result = await trials.test()
    assert not result.ok
    assert result.latency_ms == 30_000


# --- access tokens -----------------------------------------------------------------------------------


async def test_the_access_token_takes_the_place_of_the_secret() -> None:
    trials = Trials(listed(), said("token-0-of-1 and sk-secret-of-p"))
    result = await trials.test(oauth2=GRANT)
    assert result.ok
    assert result.text == "[secret] and [secret]"
    assert trials.bench.tokens.asked == [(1, GRANT, Secret("sk-secret-of-p"))]
    sent = [request.headers["authorization"] for request in trials.bench.upstream.requests]
    assert sent == ["Bearer token-0-of-1"] * 2


async def test_a_refused_access_token_is_forgotten() -> None:
    trials = Trials(refused(401))
    assert not (await trials.test("m", oauth2=GRANT)).ok
    assert trials.bench.tokens.forgotten == [Secret("token-0-of-1")]


async def test_a_token_that_cannot_be_had_is_told() -> None:
    trials = Trials(said())
    trials.bench.tokens.fault = TransportError("protocol", "the token endpoint refused with status 400")
    result = await trials.test("m", oauth2=GRANT)
    assert result.error == "The token endpoint refused with status 400."
    assert result.advice is not None
    assert "oauth2" in result.advice
    assert "provider_type" not in result.advice
    with pytest.raises(Unprocessable, match="api_key must be given along with oauth2"):
        await Trials(said()).test("m", oauth2=GRANT, secret=None)


# --- the list ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mapping", "served"),
    [
        ({}, {"gpt-a": ("gpt-a",), "gpt-b": ("gpt-b",), "other": ("other",)}),
        ({"fast": "gpt-a", "slow": "gpt-a"}, {"gpt-a": ("fast", "slow"), "gpt-b": (), "other": ()}),
        ({"gpt-*": "*", "my-*": "other"}, {"gpt-a": ("gpt-a",), "gpt-b": ("gpt-b",), "other": ("my-*",)}),
        ({"gpt-*": "*", "gpt-a": "gpt-a"}, {"gpt-a": ("gpt-a",), "gpt-b": ("gpt-b",), "other": ()}),
    ],
)
async def test_the_list_says_as_what_each_model_is_served(
    mapping: dict[str, str], served: dict[str, tuple[str, ...]]
) -> None:
    trials = Trials(listed())
    models = await trials.tester.models(provider("p", model_mapping=mapping, is_enabled=False))
    assert {model.name: model.served_as for model in models} == served


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (refused(401, "bad sk-secret-of-p"), UpstreamFailed, "status 401: bad [secret]. Set a valid api_key"),
        (TransportError("timeout", "no reply in time"), UpstreamTimedOut, "No reply in time. Try again"),
        (FakeReply(b"<html>"), UpstreamFailed, "Check provider_type"),
    ],
    ids=range(3),
)
async def test_a_list_that_cannot_be_had_is_an_error(answer: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error) as caught:
        await Trials(answer).tester.models(provider("p"))
    assert told in str(caught.value)


async def test_a_list_that_a_plugin_cannot_ask_for_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise BadReply("the plug-in failed")

    trials = Trials()
    monkeypatch.setattr(type(ADAPTERS["openai"]), "models_request", failing)
    with pytest.raises(UpstreamFailed, match="The models could not be asked for: the plug-in failed"):
        await trials.tester.models(provider("p"))


async def test_a_row_that_cannot_be_used_is_told_as_one() -> None:
    with pytest.raises(Unprocessable, match="provider_type 'nonsense' is unknown"):
        await Trials().tester.test(provider("p", provider_type="nonsense"), None)
