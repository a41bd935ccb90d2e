"""The data plane of a gateway of fakes."""

from __future__ import annotations

from llm_gateway.flow.gateway import Gateway
from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.data_plane import DataPlane
from tests.fakes.worker_registry import FakeWorkerRegistry


def data_plane(gateway: Gateway, max_bytes: int = 1_000_000) -> DataPlane:
    """Return a data plane with a worker of its own."""
    return DataPlane(
        gateway=gateway,
        bodies=BodyReader(max_bytes=max_bytes, max_total_bytes=2 * max_bytes, timeout=5),
        worker_registry=FakeWorkerRegistry(),
        max_concurrency=10,
    )
