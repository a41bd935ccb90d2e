"""What stands around a value is not part of it; what cannot be a value is refused by name."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest

from llm_gateway.cli.settings_loader import InvalidSettings, load_settings
from llm_gateway.core.secret import Secret
from llm_gateway.settings import Settings

# One good value for each kind of setting.
VALUES = {
    "admin_key": "admin-0123456789",
    "ops_token": "ops-0123456789",
    "secret_key": "new-0123456789,old-0123456789",
    "db_url": "postgresql://user:pass@host:5432/name",
    "redis_url": "redis://host:6379/0",
    "data_dir": "/var/lib/gateway",
    "tiktoken_cache_dir": "/var/cache/tiktoken",
    "host": "0.0.0.0",
    "provider_suffix": "Proxy",
    "port": "8080",
    "llm_timeout": "1.5",
    "debug": "true",
    "allow_anonymous": "false",
    "log_level": "WARNING",
    "access_log": "errors",
    "limits_fail": "closed",
    "upstream_transport": "aiohttp",
    "cors_origins": "https://a.example, https://b.example",
    "time_zone": "Europe/Berlin",
}
AROUND = [
    "{}\r",
    "{}\n",
    "{}\r\n",
    " {} ",
    "\t{}",
    "\ufeff{}",
    "\u200b{}\u00a0",
    '"{}"',
    "'{}'",
    '"{}"\r',
    '" {}\n"',
    "\ufeff'{}'\r\n",
]


def value(settings: Settings, name: str) -> object:
    found = getattr(settings, name)
    return found.reveal() if isinstance(found, Secret) else found


@pytest.mark.parametrize("around", AROUND, ids=ascii)
@pytest.mark.parametrize("name", VALUES)
def test_what_stands_around_a_value_is_not_part_of_it(
    monkeypatch: pytest.MonkeyPatch, name: str, around: str
) -> None:
    monkeypatch.setenv(name.upper(), VALUES[name])
    expected = value(load_settings(), name)
    monkeypatch.setenv(name.upper(), around.format(VALUES[name]))
    assert value(load_settings(), name) == expected


@pytest.mark.parametrize("blank", [" ", "\r", "\r\n", "\t", "\ufeff", '""', "' '"], ids=ascii)
@pytest.mark.parametrize("name", VALUES)
def test_a_blank_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, blank: str) -> None:
    """A blank OPS_TOKEN must not open what it should protect."""
    monkeypatch.setenv(name.upper(), blank)
    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    [line] = caught.value.lines
    assert line.startswith(name.upper())
    assert "blank" in line


@pytest.mark.parametrize("inside", ["a\nb", "a\rb", "a\x1bb", "a\x7fb", "a\x85b"], ids=ascii)
@pytest.mark.parametrize("name", ["admin_key", "ops_token", "secret_key", "data_dir", "db_url", "host"])
def test_a_control_character_inside_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, inside: str
) -> None:
    monkeypatch.setenv(name.upper(), inside)
    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    [line] = caught.value.lines
    assert line.startswith(name.upper())
    assert "control character" in line
    assert line.isprintable()
    if name in {"admin_key", "ops_token", "secret_key", "db_url"}:
        assert inside[0] + inside[-1] not in line.replace("\\", "")
        assert "=" not in line


def test_a_value_that_is_not_utf8_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_KEY", "key-\udcff")
    with pytest.raises(InvalidSettings, match="ADMIN_KEY: the value is not UTF-8 text"):
        load_settings()


def test_quotes_inside_and_single_quotes_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("it's", 'a"b', '"', "'a\"", '"a","b"', "'a' 'b'"):
        monkeypatch.setenv("ADMIN_KEY", key)
        assert value(load_settings(), "admin_key") == key


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_s3_18_an_env_file_of_another_system(tmp_path: Path, start: bytes, end: bytes) -> None:
    lines = (
        b"ADMIN_KEY=key-1",
        b'OPS_TOKEN="token-1" ',
        b"PORT=8080",
        b"DEBUG=true",
        b"DATA_DIR='/a b'",
        b"",
    )
    (tmp_path / ".env").write_bytes(start + end.join(lines))
    settings = load_settings()
    assert value(settings, "admin_key") == "key-1"
    assert value(settings, "ops_token") == "token-1"
    assert (settings.port, settings.debug, settings.data_dir) == (8080, True, Path("/a b"))


def test_an_empty_value_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VALUES:
        monkeypatch.setenv(name.upper(), "")
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    "name", ["Mars/Olympus", "../../etc/passwd", "/etc/localtime", "Europe", "europe berlin"]
)
def test_a_time_zone_that_the_machine_does_not_know_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("TIME_ZONE", name)
    with pytest.raises(InvalidSettings, match=r"TIME_ZONE.*no time zone of this machine"):
        load_settings()


def test_utc_needs_no_time_zone_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoneinfo.TZPATH", ())
    assert load_settings().zone is UTC


def test_a_value_that_is_none_of_several_is_refused_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SURFACES", "openai,dgen")
    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    assert caught.value.lines == (
        "SURFACES=openai,dgen: 'dgen' is no client API; name some of openai, ping, agents, query.",
    )
