"""What the operator sets for the agents' API, and what of it deserves a warning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from llm_gateway.core.secret import Secret

# The secret in the documentation of the system that this API comes from.
WELL_KNOWN: Final = "dev-secret-token"


class AgentsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of this surface. `requests_per_minute` are those of each agent, unless its credential sets others."""

    # None = nobody may use the surface.
    secret: Secret | None = None
    requests_per_minute: int = 10
    # Whether WELL_KNOWN is a secret.
    is_debug: bool = False

    @property
    def has_well_known_secret(self) -> bool:
        """Whether anybody who read the documentation knows the secret."""
        return self.secret is not None and self.secret.reveal() == WELL_KNOWN

    def warnings(self) -> Iterator[str]:
        """Yield what an operator should know at the start."""
        if self.has_well_known_secret:
            what = (
                "it is accepted, because DEBUG is true, and anyone who reaches the gateway can use its models at "
                "/internal/llm"
                if self.is_debug
                else "it is not accepted, and /internal/llm answers 503"
            )
            yield f"LLM_PROXY_SECRET is a value that everybody knows: {what}. Set another one."
