"""Response ids are bound to a credential and a provider, by a key that all workers have."""

from __future__ import annotations

import pytest

from llm_gateway.infra.secrets.key_hashing import Blake2KeyHasher
from llm_gateway.surfaces.openai.response_ids import ResponseIds

IDS = ResponseIds(Blake2KeyHasher(b"pepper"))


@pytest.mark.parametrize(
    "own", ["resp_1", "a", "with-dashes-7-" + "0" * 32, "resp_é", 'q"uote', "line\nbreak", "-"]
)
def test_an_id_opens_for_its_credential_in_every_process(own: str) -> None:
    bound = IDS.bind(own, 3, 12)
    assert bound.startswith(own)
    assert bound == IDS.bind(own, 3, 12)
    other_process = ResponseIds(Blake2KeyHasher(b"pepper"))
    assert other_process.open(bound, 3) == (own, 12)


def test_no_other_id_opens() -> None:
    bound = IDS.bind("resp_1", 3, 12)
    assert IDS.open(bound, 4) is None
    assert ResponseIds(Blake2KeyHasher(b"other database")).open(bound, 3) is None
    mac = bound[-32:]
    forged = [
        "resp_1", "", "-", f"resp_2-12-{mac}", f"resp_1-13-{mac}", f"resp_1-012-{mac}", f"resp_1-+12-{mac}",
        f"resp_1-{'9' * 30}-{mac}", f"resp_1-12-{mac.upper()}", bound[:-1], bound + "0", " " + bound, bound + "\n",
        f"resp_1-\u0661\u0662-{mac}", f"-12-{mac}", "x" * 100_000 + bound,
    ]  # fmt: skip
    assert [IDS.open(one, 3) for one in forged] == [None] * len(forged)


@pytest.mark.parametrize("own", ["", "x" * 513])
def test_what_cannot_be_bound_stays_and_never_opens(own: str) -> None:
    assert IDS.bind(own, 3, 12) == own
    assert IDS.open(own, 3) is None


def test_a_bound_id_can_be_bound_again_by_a_gateway_behind() -> None:
    twice = IDS.bind(IDS.bind("resp_1", 1, 2), 3, 4)
    assert IDS.open(twice, 3) == (IDS.bind("resp_1", 1, 2), 4)
