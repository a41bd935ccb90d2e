"""LiteLLM's proxy, the best-known gateway in Python: one worker, no database, a master key."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.machine import Cores, free_ports
from benchmarks.scenarios import MODELS
from benchmarks.targets import installing
from benchmarks.targets.base import WEIGHTS, Running, await_first_answer, spawn

_MASTER_KEY = "sk-benchmark-master"
# Its first start compiles and imports for almost a minute.
_PATIENCE = 180.0


class LiteLLMTarget:
    """All upstreams for each model, by weight (its default strategy, the cheapest it has)."""

    name = "litellm"
    version = "1.106.2"

    def missing(self) -> str | None:
        """Return how to install it, or None."""
        return installing.missing(self.name, self._requirement)

    def install(self) -> None:
        """Install it into its own virtual environment."""
        installing.install_python(self.name, self._requirement)

    @property
    def _requirement(self) -> str:
        return f"litellm[proxy]=={self.version}"

    def start(self, upstream_ports: list[int], folder: Path, cores: Cores) -> Running:
        """Start one worker, configured as its production guide says."""
        port = free_ports(1)[0]
        # JSON is YAML too.
        config = folder / "config.yaml"
        config.write_text(json.dumps(_config(upstream_ports)))
        command: list[str | Path] = [installing.home(self.name) / "bin" / "litellm", "--config", config]
        command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        settings = {
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            # Otherwise it downloads a list of prices at start.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }
        running = spawn(command, port=port, folder=folder, cores=cores, settings=settings)
        running.headers = {"authorization": f"Bearer {_MASTER_KEY}"}
        return await_first_answer(self.name, running, folder, _PATIENCE)


def _config(upstream_ports: list[int]) -> dict[str, object]:
    deployments = [
        {
            "model_name": public,
            "litellm_params": {
                "model": f"openai/{upstream_name}",
                "api_base": f"http://127.0.0.1:{upstream}/v1",
                "api_key": "sk-upstream",
                "weight": weight,
            },
        }
        for public, upstream_name in MODELS.items()
        for upstream, weight in zip(upstream_ports, WEIGHTS, strict=True)
    ]
    return {"model_list": deployments, "general_settings": {"master_key": _MASTER_KEY}}
