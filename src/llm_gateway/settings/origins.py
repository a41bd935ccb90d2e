"""Which origins a browser may send."""

from __future__ import annotations

import re
from typing import Final

# What an origin is not, and the reason that an operator reads; the first match counts.
_NO_ORIGINS: Final = tuple(
    (re.compile(pattern), reason)
    for pattern, reason in (
        (r"null", "is what any sandboxed page sends; name the origin of the page instead"),
        (r"(?!.*://).*", "has no scheme; write https:// or http:// before it"),
        (r".*\*.*", "has a wildcard, which is not supported; name each origin, or * alone for any"),
        (r".*://[^/?#]*@.*", "has a user name, which is no part of an origin; leave it out"),
        (r".*://[^/?#]*/", "ends with a slash; an origin is only a scheme, a host and a port"),
        (r".*://[^/?#]*[/?#].*", "has a path; an origin is only a scheme, a host and a port"),
        (r".*[^\x00-\x7f].*", "has characters that browsers encode; write the host as they do (xn--...)"),
        (r".*[A-Z].*", "has upper-case letters; browsers send lower case"),
        (r"http://.*:80|https://.*:443", "has the default port, which browsers leave out"),
        (r"(?![a-z][a-z0-9+.-]*://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?\Z).*", "is not an origin"),
    )
)


def never_matches(origin: str, *, is_alone: bool) -> str | None:
    """Return why no browser sends `origin` as its Origin header, or why it must not be allowed; None = neither."""
    if origin == "*":
        return None if is_alone else "allows any origin; leave the others out"
    return next((reason for pattern, reason in _NO_ORIGINS if pattern.fullmatch(origin)), None)
