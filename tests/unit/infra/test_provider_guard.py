"""Plug-ins that raise, lie, or try to end the process: their faults stay in the requests to their own providers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from llm_gateway.core.config.providers import Kind
from llm_gateway.core.ledger.usage import StatedUsage, Usage, UsageDetails
from llm_gateway.infra.provider_guard import GuardedAdapter
from llm_gateway.providers.base import Adapter, Completion, UpstreamErrorBody
from llm_gateway.wire.errors import BadReply

# What the guard hands on without a look at it.
ANY: Any = None
GOOD = Usage(9, 4, 13, details=UsageDetails(quantities={"web_searches": 2}, cost_nano_usd=5))


def raising(error: BaseException) -> Any:
    def method(*_: object, **__: object) -> None:
        raise error

    return method


def giving(value: object) -> Any:
    return lambda *_, **__: value


def guarded(**methods: Any) -> GuardedAdapter:
    return GuardedAdapter(cast("Adapter", SimpleNamespace(kind=Kind(name="odd"), **methods)))


@pytest.mark.parametrize("method", ["encode", "decode", "stream"])
def test_s2_17_a_plugin_cannot_end_the_process(method: str) -> None:
    call = getattr(guarded(**{method: raising(SystemExit(3))}), method)
    arguments = {"encode": (ANY, ANY, {}), "decode": (b"", ANY), "stream": (ANY,)}[method]
    options = {"event_limit": 1} if method == "stream" else {}
    with pytest.raises(RuntimeError, match=r"tried to end the process \(SystemExit\(3\)\)"):
        call(*arguments, **options)


@pytest.mark.parametrize("method", ["feed", "end", "whole", "sample"])
def test_s2_17_nor_can_its_streams(method: str) -> None:
    reader = SimpleNamespace(**{method: raising(SystemExit())})
    stream = guarded(stream=giving(reader)).stream(ANY, event_limit=1)
    with pytest.raises(RuntimeError, match="tried to end the process"):
        getattr(stream, method)(*([b""] if method in {"feed", "whole"} else []))


def test_what_is_raised_in_a_request_is_the_flow_s() -> None:
    with pytest.raises(ZeroDivisionError):
        guarded(encode=raising(ZeroDivisionError())).encode(ANY, ANY, {})
    with pytest.raises(BadReply):
        guarded(decode=raising(BadReply("unreadable"))).decode(b"", ANY)


@pytest.mark.parametrize("usage", [GOOD, StatedUsage(9), StatedUsage(), None])
def test_a_sound_usage_is_kept(usage: Usage | StatedUsage | None) -> None:
    completion = Completion(b"{}", usage)
    assert guarded(decode=giving(completion)).decode(b"", ANY) is completion
    stream = guarded(stream=giving(SimpleNamespace(usage=usage))).stream(ANY, event_limit=1)
    assert stream.usage is usage


@pytest.mark.parametrize(
    "usage",
    [
        Usage(-5, -5, -10),
        Usage(10**30, 1, 10**30 + 1),
        Usage(1.5, cast("int", "x"), cast("int", None)),  # type: ignore[arg-type]
        msgspec.structs.replace(GOOD, cached_tokens=-1),
        msgspec.structs.replace(GOOD, details=UsageDetails(cost_nano_usd=-1)),
        msgspec.structs.replace(GOOD, details=UsageDetails(quantities={"web_searches": float("nan")})),
        msgspec.structs.replace(GOOD, source=cast("Any", "a guess")),
        StatedUsage(True),
        {"prompt_tokens": 9},
        object(),
    ],
)
def test_a_usage_that_is_none_is_not_billed(usage: Any) -> None:
    completion = guarded(decode=giving(Completion(b"{}", usage))).decode(b"", ANY)
    assert (completion.body, completion.usage) == (b"{}", None)
    stream = guarded(stream=giving(SimpleNamespace(usage=usage))).stream(ANY, event_limit=1)
    assert stream.usage is None


def test_an_error_body_that_cannot_be_read_says_nothing() -> None:
    assert guarded(decode_error=raising(ZeroDivisionError())).decode_error(b"") == UpstreamErrorBody()


@pytest.mark.parametrize("error", [ZeroDivisionError(), SystemExit(), BadReply("unreadable")])
def test_s2_17_a_probe_gets_a_bad_reply_whatever_is_raised(error: BaseException) -> None:
    adapter = guarded(models_request=raising(error), decode_models=raising(error))
    with pytest.raises(BadReply):
        adapter.models_request(ANY)
    with pytest.raises(BadReply):
        adapter.decode_models(b"")


@pytest.mark.parametrize("listed", [None, [1], "a", [None, "a"]])
def test_what_is_no_list_of_names_is_a_bad_reply(listed: object) -> None:
    with pytest.raises(BadReply, match="the plug-in of this provider kind failed"):
        guarded(decode_models=giving(listed)).decode_models(b"")
    assert guarded(decode_models=giving(["a"])).decode_models(b"") == ["a"]


def test_the_rest_of_a_stream_is_the_plugin_s() -> None:
    names = ("json_lines", "content_seen", "done", "finished", "refusal", "tail")
    values = {name: object() for name in names}
    reader = SimpleNamespace(
        **values, feed=lambda data: data * 2, end=giving(b"end"), whole=lambda data: data, sample=giving(ANY)
    )
    stream = guarded(stream=giving(reader)).stream(ANY, event_limit=1)
    assert {name: getattr(stream, name) for name in names} == values
    assert (stream.feed(b"a"), stream.end(), stream.whole(b"w"), stream.sample()) == (
        b"aa",
        b"end",
        b"w",
        ANY,
    )
