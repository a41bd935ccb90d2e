"""Listeners to configuration reloads and provider tests, such as the log, and how listeners and observers are called.

What listens never fails what it listens to: a request is answered although a metric could not be counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec, Protocol

import msgspec

from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.ledger.usage import Usage

_P = ParamSpec("_P")
# Names this module: handlers forward it to the log.
_logger = logging.getLogger(__name__)


def notify(listener: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs) -> None:
    """Call a listener; log its exception and go on."""
    try:
        listener(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not the caller's
        listener_failed(listener, error, *args)


def listener_failed(listener: Callable[..., object], error: Exception, *args: object) -> None:
    """Log the error that a listener raised; for callers to whom `notify` would be a frame too many.

    If `args`, with which it was called, begin with a fact about a request, the message carries the request's id.
    """
    name = getattr(listener, "__qualname__", repr(listener))
    request_id = getattr(args[0], "request_id", None) if args else None
    if request_id is None:
        _logger.error("%s failed", name, exc_info=error)
    else:
        _logger.error(
            "%s failed on request %s", name, request_id, exc_info=error, extra={"request_id": request_id}
        )


class ConfigRejection(msgspec.Struct, frozen=True, kw_only=True):
    """The faulty rows of a stored catalog, with every reason; `at` is in Unix microseconds.

    Those in `kept` stay as they were; the others are left out, and credentials are refused.
    """

    version: int
    faults: tuple[Fault, ...]
    kept: tuple[str, ...] = ()
    at: int


class ReloadListener:
    """Notified of the result of each reload. The methods of this base class do nothing."""

    def swapped(self, snapshot: Snapshot) -> None:
        """`snapshot` is in force now."""

    def refused(self, refusal: ConfigRejection) -> None:
        """Some rows of the catalog in force are faulty; called once for each version, after `swapped`."""

    def failed(self, reason: str) -> None:
        """The catalog could not be loaded."""

    def went_back(self, version: int, before: int) -> None:
        """The catalog that a start found has `version`, older than `before`, which was in force here last."""


class ProviderTest(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one small test request, without secrets or addresses. `latency_ms` includes OAuth2."""

    provider: str
    ok: bool
    latency_ms: float
    # The upstream model; None if none could be chosen.
    model: str | None = None
    # The provider's HTTP status; None if there was no response.
    status: int | None = None
    # The start of the reply text.
    text: str | None = None
    usage: Usage | None = None
    # What went wrong, in the provider's words if it sent any, and how to fix it.
    error: str | None = None
    advice: str | None = None


class TrialListener(Protocol):
    """Notified of each provider test."""

    def tested(self, result: ProviderTest) -> None: ...
