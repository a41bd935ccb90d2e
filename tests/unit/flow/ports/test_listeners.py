"""What listens never fails what it listens to."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.flow.ports.ledger import Observer
from llm_gateway.flow.ports.listeners import notify
from tests.fakes.chat_requests import WHOLE, ask, whole
from tests.fakes.in_memory import FakeGateway, FakeReply, ScriptedUpstream, provider
from tests.fakes.usage_records import record


class Broken(Observer):
    """An observer that fails each time."""

    def __init__(self) -> None:
        self.calls = 0

    def finished(self, record: UsageRecord) -> None:
        self.calls += 1
        raise OSError(13, "Permission denied")

    def attempt_failed(self, failed: AttemptEnded) -> None:
        self.calls += 1
        raise RuntimeError("broken")


def test_a_listener_gets_its_arguments_and_its_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[object] = []

    def listen(first: int, *, second: str) -> None:
        seen.append((first, second))
        raise ValueError("broken")

    notify(listen, 1, second="b")
    assert seen == [(1, "b")]
    [logged] = caplog.records
    assert logged.levelno == logging.ERROR
    assert logged.getMessage().endswith("listen failed")
    assert logged.exc_info is not None


def test_a_cancellation_is_not_swallowed() -> None:
    def listen() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        notify(listen)


async def test_a_request_is_answered_whatever_its_observers_do(caplog: pytest.LogCaptureFixture) -> None:
    bench = FakeGateway(
        provider("a"),
        provider("b"),
        upstream=ScriptedUpstream(a=lambda _: FakeReply(b"{}", status=500), b=lambda _: whole()),
    )
    broken = Broken()
    bench.gateway = replace(bench.gateway, observers=(broken, bench.recorder, broken))
    for _ in range(4):
        reply = await ask(bench)
        assert reply.body == WHOLE
    # Those behind it are told nevertheless.
    assert len(bench.recorder.records) == 4
    assert broken.calls >= 8
    assert "Permission denied" in caplog.text


def test_a_failure_on_a_fact_names_its_request(caplog: pytest.LogCaptureFixture) -> None:
    notify(Broken().finished, record("0190-test"))
    [logged] = caplog.records
    assert logged.getMessage() == "Broken.finished failed on request 0190-test"
    assert logged.__dict__["request_id"] == "0190-test"
