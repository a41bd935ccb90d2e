"""The compose file is valid, pinned and hardened, and what it mounts is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EACH = pytest.mark.parametrize("name", SERVICES)


def test_s4_22_it_is_valid_by_the_compose_specification() -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    command = [str(checker), "--builtin-schema", "vendor.compose-spec", str(ROOT / "docker-compose.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_s4_23_services_and_ports_are_those_that_the_documents_name() -> None:
    assert list(SERVICES) == ["llm-proxy", "postgres", "redis", "prometheus", "grafana"]
    published = {name: service.get("ports", []) for name, service in SERVICES.items()}
    assert published == {
        "llm-proxy": ["18000:18000"],
        # Without passwords of their own, or with well-known ones: for this machine alone.
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3000:3000"],
        "postgres": [],
        "redis": [],
    }
    assert SERVICES["llm-proxy"]["image"] == "llm-proxy:dev"


@EACH
def test_versions_are_pinned(name: str) -> None:
    tag = SERVICES[name]["image"].partition(":")[2]
    assert tag == "dev" or tag.removeprefix("v").count(".") >= 1, tag


@EACH
def test_nothing_is_writable_that_need_not_be(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@EACH
def test_s4_57_what_is_mounted_is_there(name: str) -> None:
    for volume in SERVICES[name].get("volumes", ()):
        source = volume.partition(":")[0]
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
            assert volume.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]


def test_prometheus_scrapes_the_gateway_by_the_name_of_its_service() -> None:
    for file, target in (("targets.yml", "localhost:18000"), ("targets-compose.yml", "llm-proxy:18000")):
        assert yaml.safe_load((ROOT / "prometheus" / file).read_text()) == [{"targets": [target]}]
    scraping = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert [one["file_sd_configs"] for one in scraping] == [[{"files": ["targets.yml"]}]]


def test_a_service_starts_when_those_that_it_needs_are_healthy() -> None:
    for service in SERVICES.values():
        for needed, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[needed] or needed == "llm-proxy"
    # The image has its own.
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()


def test_streams_may_end_before_the_container_is_killed() -> None:
    proxy = SERVICES["llm-proxy"]
    drain = int(proxy["environment"]["DRAIN_TIMEOUT"].removeprefix("${DRAIN_TIMEOUT:-").removesuffix("}"))
    assert drain < int(proxy["stop_grace_period"].removesuffix("s"))
