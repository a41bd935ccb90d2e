"""A snapshot serves what the catalog says, or names everything that is wrong with it."""

from __future__ import annotations

import pytest

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.models import Model
from llm_gateway.core.config.providers import Kind, Provider, provider_faults
from llm_gateway.core.config.snapshot import CatalogInvalid, Snapshot, build_snapshot
from llm_gateway.core.secret import Secret

KINDS = {
    "openai": Kind(name="openai"),
    "gemini": Kind(name="gemini", version_segment="/v1beta"),
    "bare": Kind(name="bare", version_segment="", stream_usage=False),
    "made-up": Kind(name="made-up", version_segment="", schemes=("made-up",)),
}


def provider(number: int, **fields: object) -> Provider:
    given = {
        "id": number,
        "provider_key": f"p{number}",
        "provider_type": "openai",
        "api_base": f"https://p{number}.example/v1",
        **fields,
    }
    return Provider(**given)  # type: ignore[arg-type] # fields of any sort


def snapshot(*providers: Provider, credentials: tuple[Credential, ...] = ()) -> Snapshot:
    return build_snapshot(Catalog(version=3, providers=providers, credentials=credentials), KINDS)


def served(of: Snapshot, model: str) -> list[tuple[str, str]] | None:
    """Return who serves a model under which name; None when nobody does."""
    route = of.route(model)
    return None if route is None else [(one.provider_key, one.upstream_model) for one in route.deployments]


# --- C19: the mapping ------------------------------------------------------------------------------


def test_c19_an_empty_mapping_serves_every_name_unchanged() -> None:
    of = snapshot(provider(1))
    assert served(of, "gpt-4") == [("p1", "gpt-4")]
    assert served(of, "a/b:c") == [("p1", "a/b:c")]
    assert of.explicit_models == ()
    assert [one.provider.provider_key for one in of.wildcard_providers] == ["p1"]


def test_s4_4_c19_a_mapping_serves_its_keys_alone_under_their_values() -> None:
    of = snapshot(provider(1, model_mapping={"gpt-4": "gpt-4-turbo", "mini": "gpt-4o-mini"}))
    assert served(of, "gpt-4") == [("p1", "gpt-4-turbo")]
    assert served(of, "mini") == [("p1", "gpt-4o-mini")]
    assert served(of, "gpt-4-turbo") is None
    assert served(of, "GPT-4") is None
    assert of.explicit_models == ("gpt-4", "mini")
    assert of.wildcard_providers == ()


def test_c19_a_star_lets_every_other_name_through_unchanged() -> None:
    of = snapshot(provider(1, model_mapping={"gpt-4": "gpt-4-turbo", "*": "*"}))
    assert served(of, "gpt-4") == [("p1", "gpt-4-turbo")]
    assert served(of, "o1") == [("p1", "o1")]
    assert of.explicit_models == ("gpt-4",)


def test_c19_keys_may_be_globs_and_a_name_goes_before_them_and_they_in_their_order() -> None:
    of = snapshot(provider(1, model_mapping={"gpt-4*": "big", "gpt-*": "*", "gpt-4o": "exact"}))
    assert served(of, "gpt-4o") == [("p1", "exact")]
    assert served(of, "gpt-4-x") == [("p1", "big")]
    assert served(of, "gpt-3") == [("p1", "gpt-3")]
    assert served(of, "o1") is None
    assert of.explicit_models == ("gpt-4o",)


def test_c19_all_who_serve_a_model_are_in_its_route_in_the_catalogs_order() -> None:
    of = snapshot(
        provider(1, model_mapping={"m": "one"}, weight=2),
        provider(2),
        provider(3, model_mapping={"other": "x"}),
        provider(4, model_mapping={"m*": "four"}, weight=5),
    )
    route = of.route("m")
    assert route is not None
    assert served(of, "m") == [("p1", "one"), ("p2", "m"), ("p4", "four")]
    assert route.weights == (2, 1, 5)
    assert route.keys == ((1, "one"), (2, "m"), (4, "four"))
    assert route.explicit
    unlisted = of.route("unlisted")
    assert unlisted is not None
    assert not unlisted.explicit


def test_a_disabled_provider_serves_nothing() -> None:
    of = snapshot(provider(1, is_enabled=False), provider(2, model_mapping={"m": "m"}))
    assert served(of, "m") == [("p2", "m")]
    assert served(of, "x") is None


def test_c2_a_weight_of_zero_drains_and_the_model_is_still_known() -> None:
    of = snapshot(provider(1, weight=0, model_mapping={"m": "m"}), provider(2, weight=0))
    assert served(of, "m") == []
    assert served(of, "anything") == []
    assert of.explicit_models == ("m",)


def test_names_that_clients_make_up_are_not_kept_for_ever() -> None:
    of = snapshot(provider(1), provider(2, model_mapping={"only-*": "x"}))
    for number in range(10_000):
        of.route(f"made-up-{number}")
    assert len(of._made_on_demand) <= 4096
    assert served(of, "made-up-0") == [("p1", "made-up-0")]


def test_a_deployment_has_all_that_an_attempt_needs() -> None:
    secret = Secret("s")
    route = snapshot(provider(7, provider_type="bare", api_base="http://h/", secret=secret, weight=4)).route(
        "m"
    )
    assert route is not None
    (deployment,) = route.deployments
    assert deployment.key == (7, "m")
    assert (deployment.kind, deployment.base_url, deployment.weight) == ("bare", "http://h", 4)
    assert deployment.secret is secret
    assert not deployment.stream_usage


def test_accounts_are_found_by_hash_enabled_or_not() -> None:
    credentials = (
        Credential(id=1, name="a", key_hash=b"a", allowed_models=("gpt-*",), rate_limit=0),
        Credential(id=2, name="b", key_hash=b"b", is_enabled=False),
    )
    of = snapshot(provider(1), credentials=credentials)
    found = of.account(b"a")
    assert found is not None
    assert found.credential is credentials[0]
    assert "gpt-4" in found.models
    assert "o1" not in found.models
    disabled = of.account(b"b")
    assert disabled is not None
    assert not disabled.credential.is_enabled
    assert of.account(b"c") is None
    assert of.has_credentials
    assert not snapshot().has_credentials


# --- C16: URLs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api_base", "says"),
    [
        ("", "http:// or https://"),
        ("example.com/v1", "http:// or https://"),
        ("ftp://example.com", "http:// or https://"),
        ("https://", "http:// or https://"),
        ("https:///v1", "http:// or https://"),
        ("https://h:port/v1", "http:// or https://"),
        ("https://h:99999/v1", "http:// or https://"),
        ("https://[::1/v1", "http:// or https://"),
        ("https://user:hunter2@h/v1", "put the secret in api_key"),
        ("https://hunter2@h/v1", "put the secret in api_key"),
        ("https://h/v1 ", "no spaces"),
        (" https://h/v1", "no spaces"),
        ("https://h/v 1", "no spaces"),
        ("https://h/v1\n", "no spaces"),
        ("https://h/\x00", "no spaces"),
        ("https://h/v1#x", "no fragment"),
        ("https://h/v1#", "no fragment"),
        ("https://h/v1?key=hunter2", "no query"),
        ("https://h/v1?", "no query"),
    ],
)
def test_c31_a_bad_url_is_named_and_its_secrets_are_not(api_base: str, says: str) -> None:
    (found,) = provider_faults(provider(1, api_base=api_base), KINDS)
    fault = found.message
    assert fault.startswith("api_base must ")
    assert says in fault
    assert "hunter2" not in fault


def test_a_kind_may_have_schemes_of_its_own() -> None:
    assert provider_faults(provider(1, provider_type="made-up", api_base="made-up://h?delay=1"), KINDS) == []
    (found,) = provider_faults(provider(1, provider_type="made-up", api_base="https://h"), KINDS)
    fault = found.message
    assert fault.endswith("made-up://")


# --- faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"provider_type": "nope"},
            "provider_type 'nope' is unknown; use one of: bare, gemini, made-up, openai",
        ),
        ({"weight": -1}, "weight must be 0 or more"),
        ({"model_mapping": {"": "x"}}, "model_mapping must not hold empty names"),
        ({"model_mapping": {"x": ""}}, "model_mapping must not hold empty names"),
        ({"model_mapping": {"x": "gpt-*"}}, "model_mapping['x'] must be one upstream name"),
        ({"model_mapping": {"x-*": "y-*"}}, "model_mapping['x-*'] must be one upstream name"),
        ({"model_mapping": {"x": "*"}}, "model_mapping['x'] is '*', which only a glob may be mapped to"),
    ],
)
def test_c31_a_fault_starts_with_its_field(fields: dict[str, object], says: str) -> None:
    (found,) = provider_faults(provider(1, **fields), KINDS)
    fault = found.message
    assert fault.startswith(says)


def test_every_fault_of_the_whole_catalog_is_listed() -> None:
    catalog = Catalog(
        version=1,
        providers=(
            provider(1, weight=-1, api_base="nowhere"),
            provider(2, provider_key="p1", provider_type="nope", is_enabled=False),
            provider(3),
        ),
        credentials=(
            Credential(id=1, name="a", key_hash=b"same"),
            Credential(id=2, name="b", key_hash=b"same", rate_limit=-1),
        ),
        faults=(Fault("provider", "p9", "api_key", "api_key does not open"),),
    )
    with pytest.raises(CatalogInvalid) as raised:
        build_snapshot(catalog, KINDS)
    faults = [str(fault) for fault in raised.value.faults]
    assert len(faults) == 7
    assert faults[0] == "provider 'p9': api_key does not open"
    for part in (
        "provider 'p1': api_base",
        "provider 'p1': weight",
        "provider 'p1': provider_key is used twice",
        "provider 'p1': provider_type 'nope'",
        "credential 'b': key is used twice",
        "credential 'b': rate_limit",
    ):
        assert sum(fault.startswith(part) for fault in faults) == 1
    assert str(raised.value) == "; ".join(faults)


def test_an_empty_catalog_is_valid_and_serves_nothing() -> None:
    of = snapshot()
    assert (of.version, of.route("m"), of.explicit_models) == (3, None, ())


# --- models ----------------------------------------------------------------------------------------


def test_c2_a_model_may_weigh_its_providers_itself_and_drain_one() -> None:
    of = build_snapshot(
        Catalog(
            version=1,
            providers=(provider(1, weight=5), provider(2), provider(3, weight=0), provider(4)),
            models=(Model(id=1, name="m", weights={"p1": 0, "p3": 7, "p4": 2, "gone": 9}),),
        ),
        KINDS,
    )
    route, other = of.route("m"), of.route("other")
    assert route is not None
    assert other is not None
    assert [(one.provider_key, one.weight) for one in route.deployments] == [("p2", 1), ("p3", 7), ("p4", 2)]
    assert route.weights == (1, 7, 2)
    assert route.rules.weights["gone"] == 9
    assert [(one.provider_key, one.weight) for one in other.deployments] == [("p1", 5), ("p2", 1), ("p4", 1)]
    assert other.rules == Model(id=0, name="other")


def test_a_model_that_drains_all_its_providers_is_still_known() -> None:
    for mapping in ({"m": "m"}, {}):
        of = build_snapshot(
            Catalog(
                version=1,
                providers=(provider(1, model_mapping=mapping),),
                models=(Model(id=1, name="m", weights={"p1": 0}),),
            ),
            KINDS,
        )
        assert served(of, "m") == []
        assert of.serves("m")


def test_a_row_alone_makes_no_model() -> None:
    of = build_snapshot(
        Catalog(
            version=1,
            providers=(provider(1, model_mapping={"x": "y"}),),
            models=(Model(id=1, name="m", fallbacks=("x",)),),
        ),
        KINDS,
    )
    assert of.route("m") is None
    assert not of.serves("m")
    assert of.serves("x")
    assert of.explicit_models == ("x",)


def test_who_serves_a_model_by_name_or_glob_comes_in_the_catalogs_order() -> None:
    of = snapshot(
        provider(1, model_mapping={"x*": "*"}),
        provider(2, model_mapping={"xy": "two"}),
        provider(3, model_mapping={"xy": "three", "*": "*"}),
        provider(4, model_mapping={"z": "z"}),
    )
    assert served(of, "xy") == [("p1", "xy"), ("p2", "two"), ("p3", "three")]
    assert served(of, "z") == [("p3", "z"), ("p4", "z")]
