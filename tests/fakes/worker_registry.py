"""The registry of workers without shared memory, and other workers that are stale on demand."""

from __future__ import annotations

import os

from llm_gateway.flow.ports.workers import LiveWorker, MachineState, WorkerRegistry


class FakeWorkerRegistry(WorkerRegistry, MachineState):
    def __init__(self) -> None:
        self.published: list[int] = []
        self.announced = 0
        # Process id to the version it serves.
        self.others: dict[int, int] = {}
        self.inside = 0
        self.metrics_read: int | None = None
        self.provider_tested: int | None = None

    def publish_version(self, version: int) -> None:
        self.published.append(version)

    def announce_version(self, version: int) -> None:
        self.announced = max(self.announced, version)

    def announced_version(self) -> int:
        return self.announced

    def stale_workers(self, version: int) -> tuple[int, ...]:
        served = dict(self.others)
        if self.published:
            served[os.getpid()] = self.published[-1]
        return tuple(pid for pid, one in served.items() if one < version)

    def workers(self) -> tuple[LiveWorker, ...]:
        others = [
            LiveWorker(pid=pid, started_at=None, version=version, active=0)
            for pid, version in self.others.items()
        ]
        version = self.published[-1] if self.published else None
        return (*others, LiveWorker(pid=os.getpid(), started_at=1, version=version, active=self.inside))

    def try_enter(self, limit: int) -> bool:
        if self.inside >= limit:
            return False
        self.inside += 1
        return True

    def leave(self) -> None:
        self.inside = max(self.inside - 1, 0)

    def active(self) -> int:
        return self.inside

    def metrics_read_at(self) -> int | None:
        return self.metrics_read

    def provider_tested_at(self) -> int | None:
        return self.provider_tested
