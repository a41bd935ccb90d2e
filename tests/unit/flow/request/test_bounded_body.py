"""What is large is refused before it is parsed where that can be, and handled off the event loop where not."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import BadRequest, Forbidden, GatewayError, RateLimited
from llm_gateway.flow.gateway import Options
from llm_gateway.flow.heavy_work import LARGE_BODY
from llm_gateway.flow.ports.dialect import Attribution
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import WholeReply
from llm_gateway.providers.openai.adapter import OpenAIAdapter
from llm_gateway.surfaces.openai.dialect import OpenAIDialect
from llm_gateway.surfaces.openai.parsing import parse_chat
from tests.fakes.chat_requests import whole
from tests.fakes.in_memory import FakeGateway, ScriptedUpstream, credential, provider

PADDING = "a" * LARGE_BODY


def chat(**fields: Any) -> bytes:
    return msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "a"}], **fields})


LARGE = chat(user=PADDING)


class Watched(OpenAIDialect):
    """Notes in which threads it read."""

    def __init__(self) -> None:
        super().__init__(parse_chat)
        self.threads: list[threading.Thread] = []

    def read(self, body: bytes, headers: Any) -> tuple[Any, Attribution]:
        self.threads.append(threading.current_thread())
        return super().read(body, headers)


class Desk:
    """A gateway with one provider and one credential."""

    def __init__(self, options: Options | None = None, **limits: Any) -> None:
        self.bench = FakeGateway(
            provider("a"),
            upstream=ScriptedUpstream(a=[whole() for _ in range(9)]),
            credentials=(credential(**limits),),
            options=options,
        )
        self.dialect = Watched()

    async def ask(self, body: bytes) -> WholeReply:
        call = self.bench.call(dialect=self.dialect)
        call.request_bytes = len(body)
        reply = await handle(self.bench.gateway, call, lambda: body)
        assert isinstance(reply, WholeReply)
        return reply


async def test_a_large_body_is_parsed_in_a_thread_and_a_small_one_is_not() -> None:
    desk = Desk()
    await desk.ask(chat())
    await desk.ask(LARGE)
    here = threading.current_thread()
    assert [thread is here for thread in desk.dialect.threads] == [True, False]


async def test_a_large_body_is_translated_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    encode = OpenAIAdapter.encode

    def watched(self: OpenAIAdapter, *rest: Any) -> Any:
        threads.append(threading.current_thread())
        return encode(self, *rest)

    monkeypatch.setattr(OpenAIAdapter, "encode", watched)
    desk = Desk()
    await desk.ask(chat())
    await desk.ask(LARGE)
    assert [thread is threading.current_thread() for thread in threads] == [True, False]


@pytest.mark.parametrize(
    ("limits", "error", "message"),
    [
        ({"rate_limit": 0}, RateLimited, "blocked"),
        ({"allowed_models": ()}, Forbidden, "may not use any model"),
        ({"allowed_models": (), "rate_limit": 0}, Forbidden, "may not use any model"),
    ],
)
async def test_a_key_that_may_do_nothing_is_refused_before_its_body_is_read(
    limits: dict[str, Any], error: type[GatewayError], message: str
) -> None:
    desk = Desk(**limits)

    def read_body() -> bytes:
        raise AssertionError("the body is read")

    with pytest.raises(error, match=message):
        await handle(desk.bench.gateway, desk.bench.call(), read_body)
    record = desk.bench.recorder.record
    assert (record.outcome, record.credential, record.model) == ("rejected", "tester", None)


async def test_a_large_body_over_the_limit_is_refused_unparsed() -> None:
    desk = Desk(rate_limit=1)
    await desk.ask(LARGE)
    for _ in range(2):
        with pytest.raises(RateLimited, match="1 requests per second"):
            await desk.ask(LARGE)
    assert len(desk.dialect.threads) == 1


async def test_a_large_body_takes_its_place_once() -> None:
    desk = Desk(rate_limit=2)
    await desk.ask(LARGE)
    await desk.ask(LARGE)
    with pytest.raises(RateLimited):
        await desk.ask(chat())


async def test_too_many_values_are_refused_unparsed_with_the_setting_named() -> None:
    desk = Desk(Options(max_body_values=50))
    with pytest.raises(BadRequest, match=r"more than 50 .*MAX_BODY_VALUES") as refused:
        await desk.ask(chat(user=PADDING, metadata=["a"] * 50))
    assert refused.value.code == "request_too_complex"
    assert desk.dialect.threads == []


@pytest.mark.parametrize("padding", ["", PADDING])
async def test_too_many_fields_are_refused_with_the_setting_named(padding: str) -> None:
    desk = Desk(Options(max_body_fields=20))
    extra = {f"x{number}": 1 for number in range(17)}
    await desk.ask(chat(user=padding, **extra))
    with pytest.raises(BadRequest, match=r"more than 20 .*MAX_BODY_FIELDS") as refused:
        await desk.ask(chat(user=padding, one_more=1, **extra))
    assert refused.value.code == "request_too_complex"
    assert len(desk.bench.upstream.hosts) == 1
