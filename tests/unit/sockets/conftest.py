from __future__ import annotations

from functools import partial

import pytest

from llm_gateway.sockets.write_batch import make_write_batch
from tests.fakes.compiled_parts import need_compiled
from tests.fakes.wires import MakeBatch


@pytest.fixture(params=["python", "compiled"])
def make_batch(request: pytest.FixtureRequest) -> MakeBatch:
    """Return what makes batches, written in Python or compiled."""
    if request.param == "compiled":
        need_compiled()
    return partial(make_write_batch, compiled=request.param == "compiled")
