"""Failures that an operator can fix are explained."""

from __future__ import annotations

from llm_gateway.cli.failures import explain
from llm_gateway.cli.settings_loader import InvalidSettings
from llm_gateway.core.errors import Conflict
from llm_gateway.server.processes.listener import CannotServe


def test_failures_that_an_operator_can_fix_are_explained() -> None:
    assert explain(CannotServe("the port")) == (2, ("the port",))
    assert explain(InvalidSettings(("a", "b"))) == (2, ("a", "b"))
    assert explain(Conflict("it is there already")) == (1, ("it is there already",))
    assert explain(ValueError("a fault of ours")) is None
