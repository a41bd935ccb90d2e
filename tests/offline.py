"""Keeps unit and property tests off the network: what they test does no I/O."""

from __future__ import annotations

import socket

import pytest


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: str | tuple[str, int]) -> None:
        if self.family != socket.AF_UNIX:
            message = f"a unit test connects to {address}: give it a fake, or move it to tests/integration"
            raise AssertionError(message)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
