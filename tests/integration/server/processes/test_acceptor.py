"""New connections are spread over the workers."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from tests.fakes.standin_gateway import (
    Gateway,
)


def test_workers_share_new_connections_evenly(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways(WORKERS="2")
    url = gateway.start()
    clients = [httpx.Client(trust_env=False, verify=False) for _ in range(32)]
    try:
        counts = [client.get(f"{url}/pid").text for client in clients]
    finally:
        for client in clients:
            client.close()
    shares = sorted(counts.count(pid) for pid in set(counts))
    assert len(shares) == 2
    # Without the balanced acceptor one worker often gets all.
    assert shares[0] >= 8
