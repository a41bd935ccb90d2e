"""`llm-gateway config import` and `config export`, beside a gateway that runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Launch
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.unit.flow.config.files.test_gateway_reading import DOCUMENTED
from tests.unit.flow.config.files.test_litellm_reading import REGIONS


def run(gateway: GatewayProcess, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "llm_gateway", "config", *map(str, arguments)],
        cwd=gateway.folder,
        env=kept | gateway.settings | {"AZURE_BASE_CA": "https://endpoint-canada.openai.azure.com"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def keys(gateway: GatewayProcess) -> list[str]:
    return [row["provider_key"] for row in accepted(gateway.admin.get("/providers"))["data"]]


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_a_file_is_imported_into_a_running_gateway_and_exported(
    launch: Launch, tmp_path: Path, store: str
) -> None:
    gateway = launch(store)
    file, written = tmp_path / "config.yaml", tmp_path / "exported.yaml"
    file.write_text(DOCUMENTED)
    dry = run(gateway, "import", file, "--dry-run")
    assert (dry.returncode, dry.stdout.splitlines()[0]) == (0, "would have created provider 'openai'"), (
        dry.stderr
    )
    assert keys(gateway) == []
    done = run(gateway, "import", file)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "3 created."), done.stderr
    assert "warning: provider 'local': no model of the file names it" in done.stderr
    eventually(lambda: keys(gateway), lambda found: found == ["openai", "local"])
    # A start fills nothing into what was imported.
    gateway.settings["MISTRAL_API_KEY"] = "sk"
    assert run(gateway, "import", file).stdout.splitlines()[-1] == "3 unchanged."
    assert run(gateway, "import", file, "--existing", "skip").stdout.splitlines()[-1] == "3 skipped."
    assert run(gateway, "export", written).returncode == 0
    shown = run(gateway, "export")
    assert shown.stdout == written.read_text()
    assert written.stat().st_mode & 0o777 == 0o600
    again = run(gateway, "export", written)
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    assert run(gateway, "import", written).stdout.splitlines()[-1] == "3 unchanged."


def test_an_export_names_what_it_leaves_out(launch: Launch) -> None:
    gateway = launch()
    gateway.create_provider("sealed", "http://x.example", api_key="sk-secret-0123456789")
    gateway.create_credential("client")
    shown = run(gateway, "export")
    assert "sk-secret" not in shown.stdout + shown.stderr
    assert "warning: providers.sealed.api_key: dropped" in shown.stderr
    assert "warning: credentials: dropped: 1 not exported" in shown.stderr


def test_litellm_s_file_is_imported_with_a_finding_for_each_field(launch: Launch, tmp_path: Path) -> None:
    gateway = launch()
    file = tmp_path / "litellm.yaml"
    file.write_text(REGIONS)
    done = run(gateway, "import", file)
    assert done.returncode == 0, done.stderr
    assert "model_list[2] (line 18): refused: the gateway has no provider kind for 'bedrock'" in done.stdout
    assert "general_settings.master_key" in done.stdout
    assert "sk-1234" not in done.stdout + done.stderr
    expected = ["azure-endpoint-europe", "azure-endpoint-canada", "openai", "anthropic"]
    eventually(lambda: keys(gateway), lambda found: found == expected)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "providers:\n  a: {base_url: ftp://x}\n  b: {base_url: 'http://x', weight: -1}\n",
            [
                "line 2: providers.a.base_url: base_url must be a URL",
                "line 3: providers.b.weight: weight must be 0",
            ],
        ),
        (
            "providers:\n  a: {base: x}\n  b: 1\n",
            ["line 2: providers.a.base is unknown", "line 3: providers.b must be"],
        ),
        ("a: &a [*a]\n", ["line 1: the alias *a is not defined"]),
    ],
)
def test_every_fault_of_a_file_is_a_line(launch: Launch, tmp_path: Path, text: str, lines: list[str]) -> None:
    gateway = launch()
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    done = run(gateway, "import", file)
    assert done.returncode != 0
    shown = [line for line in done.stderr.splitlines() if line.startswith("llm-gateway: ")]
    assert len(shown) == len(lines)
    assert all(wanted in line for wanted, line in zip(lines, shown, strict=True))
    assert keys(gateway) == []


def test_a_file_that_is_not_there(launch: Launch) -> None:
    done = run(launch(), "import", "absent.yaml")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "llm-gateway: absent.yaml cannot be read: No such file or directory.",
    )
