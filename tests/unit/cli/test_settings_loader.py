"""Each invalid setting is reported in a line of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_gateway.cli.settings_loader import InvalidSettings, load_settings


def test_an_env_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PORT=\xff\xfe\n")
    with pytest.raises(InvalidSettings, match=r"\.env is not UTF-8"):
        load_settings()


def test_an_env_file_that_may_not_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=1\n")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Root may read everything.
    monkeypatch.setattr("dotenv.dotenv_values", refuse)
    with pytest.raises(InvalidSettings, match=r"cannot read the file \.env: Permission denied"):
        load_settings()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("https://a.example/", "ends with a slash"),
        ("https://a.example/app", "has a path"),
        ("https://a.example?x", "has a path"),
        ("a.example", "has no scheme"),
        ("localhost:3000", "has no scheme"),
        ("//a.example", "has no scheme"),
        ("https://A.example", "upper-case"),
        ("HTTPS://a.example", "upper-case"),
        ("https://*.example", "wildcard"),
        ("https://a.example:*", "wildcard"),
        ("null", "sandboxed"),
        ("*, https://a.example", "leave the others out"),
        ("https://a.example, *", "leave the others out"),
        ("https://a.example:443", "default port"),
        ("http://a.example:80", "default port"),
        ("https://user@a.example", "user name"),
        ("https://b\u00fccher.example", "xn--"),
        ("https://", "is not an origin"),
        ("https://a.example:port", "is not an origin"),
        ("https://a b", "is not an origin"),
        ("https://ok.example, https://a.example/", "ends with a slash"),
    ],
)
def test_an_origin_that_can_never_match_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, value: str, reason: str
) -> None:
    monkeypatch.setenv("CORS_ORIGINS", value)
    with pytest.raises(InvalidSettings, match=reason) as refused:
        load_settings()
    assert refused.value.lines[0].startswith("CORS_ORIGINS=")


@pytest.mark.parametrize(
    "value",
    [
        "*", "https://a.example", "http://localhost:3000", "http://127.0.0.1:8080,http://[::1]:5173", "https://a:8443",
        "chrome-extension://abcdefghijklmnop", "capacitor://localhost", "https://xn--bcher-kva.example", "https://a:80",
    ],
)  # fmt: skip
def test_origins_that_browsers_send_are_accepted(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CORS_ORIGINS", value)
    assert load_settings().cors_origins == tuple(value.split(","))


@pytest.mark.parametrize("value", ["10.0.0.1/8", "proxy.example", "*", "10.0.0.0/33", "10.0.0.0/8, x"])
def test_trusted_proxies_are_addresses_or_networks(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TRUSTED_PROXIES", value)
    with pytest.raises(InvalidSettings, match=r"TRUSTED_PROXIES=.*write an address, or a network"):
        load_settings()
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8, 192.168.0.1, fd00::/8")
    assert load_settings().trusted_proxies == ("10.0.0.0/8", "192.168.0.1", "fd00::/8")
