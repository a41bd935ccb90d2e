"""The one tree of errors that a client may see, divided by what the client can do about each.

GatewayError
├── BadRequest                 400  change the request
│   ├── BodyTooLarge           413
│   └── BodyTimedOut           408
├── Unauthenticated            401  send a valid key
├── Forbidden                  403  ask for permission
│   └── ModelNotPriced         403
├── NotFound                   404
│   └── ModelNotFound          404
├── MethodNotAllowed           405
├── UpgradeRequired            426  use HTTP instead of a WebSocket
├── Conflict                   409  (admin)
├── PreconditionFailed         412  (admin)
├── Unprocessable              422  (admin)
├── CostRefused                402  allow more, or ask for less
├── RateLimited                429  wait
├── QuotaExceeded              429  wait for the reset, or have the limit raised
├── Unavailable                503  wait: shedding or draining
├── InternalError              500  a fault of the gateway
└── UpstreamError              502  the provider's
    ├── UpstreamRefused        4xx  the provider's own words, passed on
    ├── UpstreamFailed         502
    ├── UpstreamUnavailable    503
    └── UpstreamTimedOut       504

A dialect turns one into bytes; `http/errors.py` sends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import ClassVar

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Codes of errors that last until an operator changes something, whatever their status.
_LASTING = frozenset(
    {"upstream_key_refused", "upstream_account_refused"}
    | {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
)


class GatewayError(Exception):
    """Anything that ends a request with an error; `message` is safe to show to a client."""

    status: int = 500
    type: str = "server_error"
    code: str | None = None
    # The outcome in usage records and metrics.
    outcome: ClassVar[str] = "rejected"
    # Whether the same request may succeed later; None = nobody knows.
    waiting_helps: bool | None = False
    # Further fields of the error's body; None = there are none.
    details: Mapping[str, str | int | None] | None = None

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        """`message` is shown to the client; `retry_after` is in seconds."""
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
            if code in _LASTING:
                self.waiting_helps = False
        self.param = param
        self.retry_after = retry_after
        # Extra response headers, lower-case names.
        self.headers: tuple[tuple[bytes, bytes], ...] = ()


class BadRequest(GatewayError):
    """The request itself is wrong: sending it again unchanged cannot work."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class BodyTooLarge(BadRequest):
    """The body is over `MAX_BODY_BYTES`."""

    status = 413
    code = "request_too_large"


class BodyTimedOut(BadRequest):
    """The body did not arrive in time."""

    status = 408
    code = "request_timeout"
    waiting_helps = True


class Unauthenticated(GatewayError):
    """No key, an unknown key, or a disabled one; the client cannot tell which."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class Forbidden(GatewayError):
    """The key is known and may not do this."""

    status = 403
    type = "permission_error"
    code = "model_not_allowed"


class ModelNotPriced(Forbidden):
    """The credential may only use models with known prices, and this one has none."""

    code = "model_not_priced"


class NotFound(GatewayError):
    """There is nothing under this path or name."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class ModelNotFound(NotFound):
    """No enabled provider serves the model."""

    code = "model_not_found"


class MethodNotAllowed(GatewayError):
    """The path exists, the method does not."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class UpgradeRequired(GatewayError):
    """The request asks for a WebSocket, which the gateway does not serve."""

    status = 426
    type = "invalid_request_error"
    code = "websocket_not_supported"


class Conflict(GatewayError):
    """It exists already."""

    status = 409
    type = "invalid_request_error"
    code = "conflict"


class PreconditionFailed(GatewayError):
    """Another client changed it first."""

    status = 412
    type = "invalid_request_error"
    code = "precondition_failed"


class Unprocessable(GatewayError):
    """Well-formed, and still not acceptable; `param` names the field."""

    status = 422
    type = "invalid_request_error"
    code = "invalid_value"


class CostRefused(GatewayError):
    """The request might cost more than its client allows, or nobody knows how much."""

    status = 402
    type = "invalid_request_error"
    code = "max_cost_exceeded"


class RateLimited(GatewayError):
    """Over a limit of a second or a minute, or of concurrent requests."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    waiting_helps = True


class QuotaExceeded(GatewayError):
    """Over a budget, or a limit of a day or longer: sending the request again soon cannot work.

    Says what was reached, by `details`: the `scope` of the limit, the `limit` itself, how much of it is `used`, how
    much open requests hold (`held`), and when it is free again (`reset_at`, ISO 8601 in UTC; None = never). Money is
    decimal USD as text, all else whole numbers.
    """

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"

    def __init__(
        self,
        message: str,
        *,
        scope: str,
        limit: int | str,
        used: int | str,
        held: int | str,
        reset_at: int | None,
    ) -> None:
        """`reset_at` is in Unix microseconds."""
        super().__init__(message)
        self.details = {
            "scope": scope,
            "limit": limit,
            "used": used,
            "held": held,
            "reset_at": None if reset_at is None else _iso_seconds(reset_at),
        }


class Unavailable(GatewayError):
    """The gateway sheds load, drains, or has no configuration yet."""

    status = 503
    type = "server_error"
    code = "unavailable"
    waiting_helps = True


class InternalError(GatewayError):
    """A fault of the gateway; the log has the details under the request id."""

    status = 500
    type = "server_error"
    code = "internal_error"
    outcome = "error"
    waiting_helps: bool | None = None


class UpstreamError(GatewayError):
    """The provider could not be reached, or gave no usable answer."""

    status = 502
    type = "upstream_error"
    code: str | None = "upstream_error"
    outcome = "error"
    waiting_helps: bool | None = None


class UpstreamRefused(UpstreamError):
    """The provider's own 4xx: its status, message, type, code and param, secrets replaced."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        type: str | None = None,  # noqa: A002 - the wire's name
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, code=code, param=param, retry_after=retry_after)
        self.status = status
        self.type = type or "invalid_request_error"
        self.code = code
        if self.waiting_helps is None:
            self.waiting_helps = {408: None, 409: None, 429: True}.get(status, False)


class UpstreamFailed(UpstreamError):
    """The connection failed or was cut, or the answer could not be read."""


class UpstreamUnavailable(UpstreamError):
    """The provider says that it is overloaded."""

    status = 503
    code = "upstream_unavailable"
    waiting_helps = True


class UpstreamTimedOut(UpstreamError):
    """The provider did not answer in time."""

    status = 504
    code = "upstream_timeout"


def internal_error() -> InternalError:
    """Return the error that a client gets for a fault of the gateway."""
    return InternalError("The gateway failed to handle the request; its log says more under the request id.")


def _iso_seconds(unix_us: int) -> str:
    """Return a time as `2026-01-31T12:00:00Z`, rounded up, so that nobody comes back too early."""
    moment = _EPOCH + timedelta(seconds=-(-unix_us // 1_000_000))
    return moment.replace(tzinfo=None).isoformat() + "Z"
