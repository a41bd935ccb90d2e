"""Which addresses are public, and how names are resolved."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.infra.upstream.resolver import Resolver, is_public


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1",
        "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "64:ff9b:1::1",
        "::127.0.0.1", "::ffff:0:127.0.0.1", "fec0::1", "100::1", "2001:db8::1", "5f00::1",
    ],
)  # fmt: skip
def test_addresses_that_lead_inside(address: str) -> None:
    assert not is_public(address)


def _names(monkeypatch: pytest.MonkeyPatch, **found: list[str]) -> list[str]:
    asked: list[str] = []

    async def getaddrinfo(_loop: object, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        await asyncio.sleep(0.001)
        if host not in found:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found[host]]

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", getaddrinfo, raising=False)
    return asked


async def test_a_burst_of_requests_asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _names(monkeypatch, a=["8.8.8.8"])
    resolver = Resolver(allow_private=True)
    found = await asyncio.gather(*(resolver.resolve("a", 80) for _ in range(50)))
    assert {each[0][4] for each in found} == {("8.8.8.8", 80)}
    await resolver.resolve("a", 80)
    assert asked == ["a"]


async def test_one_who_leaves_does_not_take_the_answer_from_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = _names(monkeypatch, a=["8.8.8.8"])
    resolver = Resolver(allow_private=True)
    leaving, staying = (asyncio.ensure_future(resolver.resolve("a", 80)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert len(await staying) == 1
    assert asked == ["a"]


async def test_a_failure_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _names(monkeypatch)
    resolver = Resolver(allow_private=True)
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await resolver.resolve("a", 80)
    assert asked == ["a", "a"]


async def test_private_answers_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    _names(monkeypatch, mixed=["10.0.0.1", "8.8.8.8"], inside=["10.0.0.1"])
    resolver = Resolver(allow_private=False)
    assert [each[4] for each in await resolver.resolve("mixed", 80)] == [("8.8.8.8", 80)]
    with pytest.raises(TransportError, match="ALLOW_PRIVATE_UPSTREAMS"):
        await resolver.resolve("inside", 80)


async def test_closing_gives_up_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    _names(monkeypatch, a=["8.8.8.8"])
    resolver = Resolver(allow_private=True)
    asking = asyncio.ensure_future(resolver.resolve("a", 80))
    await asyncio.sleep(0)
    resolver.close()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_what_somebody_else_connects_to_must_be_public_altogether(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _names(monkeypatch, good=["8.8.8.8", "1.1.1.1"], either=["8.8.8.8", "10.0.0.1"])
    resolver = Resolver(allow_private=False)
    await resolver.require_public("good", 443)
    await resolver.require_public("8.8.8.8", 443)
    for host in ("either", "10.0.0.1"):
        with pytest.raises(TransportError, match="ALLOW_PRIVATE_UPSTREAMS"):
            await resolver.require_public(host, 443)
    with pytest.raises(OSError, match="no such name"):
        await resolver.require_public("unknown", 443)
