"""Who may call the agents' API, and as which agent a request is limited."""

from __future__ import annotations

import pytest

from llm_gateway.core.config.accounts import AGENTS_ACCOUNT, Principal
from llm_gateway.core.config.limits import Limits
from llm_gateway.core.errors import GatewayError, Unauthenticated, Unavailable
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION, Attribution
from llm_gateway.surfaces.agents.callers import agent_limits, caller_check, limited_agents
from llm_gateway.surfaces.agents.options import WELL_KNOWN, AgentsOptions
from tests.fakes.in_memory import PlainHasher, credential

HASHER = PlainHasher()


def identified(given: bytes | None, options: AgentsOptions) -> bytes:
    """Return the hash of the account that a request belongs to; raise what it is refused with."""
    headers = {} if given is None else {b"x-internal-secret": given}
    return caller_check(options)(headers).digest(HASHER)


OURS = AgentsOptions(secret=Secret("s\u00e9cret"))


def test_s2_7_the_secret_makes_a_request_the_surfaces_own() -> None:
    for given in ("s\u00e9cret".encode(), " s\u00e9cret ".encode()):
        assert identified(given, OURS) == AGENTS_ACCOUNT.key_hash


@pytest.mark.parametrize(
    "given", [None, b"", b"s", "s\u00e9cret2".encode(), b"\xff" * 10_000, b"surface:agents"]
)
def test_s2_7_anything_else_is_refused(given: bytes | None) -> None:
    with pytest.raises(Unauthenticated) as refused:
        identified(given, OURS)
    assert "X-Internal-Secret" in refused.value.message
    assert "cret" not in refused.value.message.replace("Secret", "").replace("SECRET", "")


@pytest.mark.parametrize("options", [AgentsOptions(), AgentsOptions(secret=Secret(WELL_KNOWN))])
@pytest.mark.parametrize("given", [None, b"", WELL_KNOWN.encode()])
def test_s2_7_without_a_secret_of_its_own_nobody_is_let_in(
    options: AgentsOptions, given: bytes | None
) -> None:
    with pytest.raises(Unavailable) as refused:
        identified(given, options)
    assert "LLM_PROXY_SECRET" in refused.value.message
    assert refused.value.waiting_helps is False


def test_s2_7_the_well_known_secret_is_for_debugging() -> None:
    options = AgentsOptions(secret=Secret(WELL_KNOWN), is_debug=True)
    assert identified(WELL_KNOWN.encode(), options) == AGENTS_ACCOUNT.key_hash


@pytest.mark.parametrize(
    ("secret", "is_debug", "words"),
    [
        (None, False, None),
        ("ours", False, None),
        ("ours", True, None),
        (WELL_KNOWN, False, "answers 503"),
        (WELL_KNOWN, True, "anyone who reaches the gateway can use its models"),
    ],
)
def test_s2_7_the_start_warns_of_the_well_known_secret(
    secret: str | None, is_debug: bool, words: str | None
) -> None:
    options = AgentsOptions(secret=None if secret is None else Secret(secret), is_debug=is_debug)
    warnings = list(options.warnings())
    assert len(warnings) == (words is not None)
    assert words is None or words in warnings[0]
    assert "ours" not in repr(options)


def account(**changes: object) -> Principal:
    return Principal(credential("sk", 5, name="surface:agents", **changes))


def test_s2_6_an_agent_has_ten_requests_per_minute_unless_its_credential_says_otherwise() -> None:
    accounts_of = limited_agents(10)
    (sofia,) = accounts_of(account(), Attribution(agent="agent:sofia"))
    (other,) = accounts_of(account(), Attribution(agent="agent:other"))
    assert sofia.limits == Limits(requests_per_minute=10)
    assert sofia.subject != other.subject
    # The credential's own limits of agents hold anyway.
    own = Limits(requests_per_minute=50)
    assert accounts_of(account(agent_limits=own), Attribution(agent="agent:sofia")) == ()
    assert agent_limits(account(agent_limits=own), 10) is own
    assert agent_limits(account(agent_limits=Limits()), 10).requests_per_minute is None


def test_requests_without_an_agent_are_limited_together() -> None:
    own = Limits(requests_per_minute=50)
    for changes, limits in (({}, Limits(requests_per_minute=10)), ({"agent_limits": own}, own)):
        first, second = (
            limited_agents(10)(account(**changes), Attribution(channel=channel)) for channel in ("a", "b")
        )
        assert first == second
        assert first[0].limits == limits
    assert limited_agents(10)(account(), NO_ATTRIBUTION) == ()


def test_all_wrong_secrets_are_told_the_same() -> None:
    errors: list[GatewayError] = []
    for given in (b"s", "s\u00e9cre".encode(), b"x" * 7):
        with pytest.raises(Unauthenticated) as refused:
            identified(given, OURS)
        errors.append(refused.value)
    assert len({error.message for error in errors}) == 1
