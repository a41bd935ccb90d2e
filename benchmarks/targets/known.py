"""All targets, in the order of the table."""

from __future__ import annotations

from benchmarks.targets.base import Peer, Target
from benchmarks.targets.gateway import GatewayTarget
from benchmarks.targets.litellm_proxy import LiteLLMTarget
from benchmarks.targets.nginx import NginxTarget
from benchmarks.targets.portkey import PortkeyTarget
from benchmarks.targets.rust_routers import SGLANG_ROUTER, SMG

PEERS: tuple[Peer, ...] = (SGLANG_ROUTER, SMG, PortkeyTarget(), LiteLLMTarget())
NAMES = (GatewayTarget.name, NginxTarget.name, *(peer.name for peer in PEERS))


def targets(db_url: str | None) -> tuple[Target, ...]:
    """Return all of them, this gateway first, on the database that `db_url` names."""
    return (GatewayTarget(db_url), NginxTarget(), *PEERS)
