"""Gateways that serve the stand-in program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.standin_gateway import Gateway


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    made: list[Gateway] = []

    def make(**environment: str) -> Gateway:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Gateway(folder, **environment))
        return made[-1]

    yield make
    for gateway in made:
        if hasattr(gateway, "process"):
            gateway.close()
