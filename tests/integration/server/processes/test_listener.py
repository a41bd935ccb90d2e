"""An address that cannot be bound is named."""

from __future__ import annotations

from collections.abc import Callable

from tests.fakes.standin_gateway import (
    WORKERS,
    Gateway,
    taken_port,
)


@WORKERS
def test_a_taken_port_is_named(gateways: Callable[..., Gateway], workers: str) -> None:
    with taken_port() as port:
        gateway = gateways(WORKERS=workers, PORT=str(port))
        gateway.launch()
        assert gateway.wait() == 2
        assert f"HOST=127.0.0.1 PORT={port}" in gateway.log()


def test_an_address_that_is_not_ours_is_named(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways(HOST="192.0.2.1")
    gateway.launch()
    assert gateway.wait() == 2
    assert "HOST=192.0.2.1 is not an address of this machine" in gateway.log()
