"""A real Prometheus on loopback that scrapes gateways by the files of `prometheus/`, for tests.

    with PrometheusServer(programs, folder, {"llm-gateway": [gateway.origin]}) as prometheus:
        prometheus.wait_until_up()
        before = prometheus.scraped()          # a load of known size goes between two scrapes
        ...
        after = prometheus.scraped()
        prometheus.query("sum(llm_proxy_requests_total)", after)

Only the intervals and the targets differ from the committed configuration.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from tests.rule_files import FOLDER
from tests.services import free_port

# Seconds. Scrapes come so often that a test need not wait.
INTERVAL = 0.5
_PATIENCE = 30.0

Labels = tuple[tuple[str, str], ...]


def extrapolation(samples: Sequence[tuple[float, float]], at: float) -> float:
    """Return the factor by which `rate` and `delta` exceed what these samples (time, value) of a window tell.

    They reach half an interval beyond the first sample, and as far beyond the last one, but not beyond `at`.
    """
    seen = samples[-1][0] - samples[0][0]
    interval = seen / (len(samples) - 1)
    rest = at - samples[-1][0]
    return (seen + interval / 2 + (rest if rest < 1.1 * interval else interval / 2)) / seen


class PrometheusServer:
    """One Prometheus process, its folder and its query API."""

    def __init__(
        self,
        programs: Path,
        folder: Path,
        targets: Mapping[str, Sequence[str]],
        *,
        interval: float = INTERVAL,
    ) -> None:
        """`programs` is the folder of the binary; `targets` has origins (`http://127.0.0.1:1`) by job."""
        self._folder = folder
        self._targets = targets
        self._interval = interval
        self._port = free_port()
        self._log = folder / "prometheus.log"
        self._command = [
            str(programs / "prometheus"),
            f"--config.file={self._configure()}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=warn",
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        self._http = httpx.Client(base_url=self.url, timeout=15, trust_env=False)

    def _configure(self) -> Path:
        config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
        pace = f"{round(self._interval * 1000)}ms"
        config["global"] = {"scrape_interval": pace, "evaluation_interval": pace, "scrape_timeout": pace}
        config["rule_files"] = [str(FOLDER / file) for file in config["rule_files"]]
        [scraping] = config["scrape_configs"]
        del scraping["file_sd_configs"]
        config["scrape_configs"] = [
            {
                **scraping,
                "job_name": job,
                "static_configs": [{"targets": [origin.removeprefix("http://") for origin in origins]}],
            }
            for job, origins in self._targets.items()
        ]
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "prometheus.yml"
        path.write_text(json.dumps(config))
        return path

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._until(self._is_ready, "Prometheus is ready")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self._http.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def _until(self, look: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not look():
            assert time.monotonic() < deadline, f"not within {_PATIENCE} s: {what}\n{self._log.read_text()}"
            time.sleep(0.05)

    def wait_until_up(self) -> None:
        """Wait until every target was scraped."""
        number = sum(map(len, self._targets.values()))
        self._until(lambda: sum(self.query("up").values()) == number, f"{number} targets are up")

    def scraped(self) -> float:
        """Wait until every target was scraped, and the rules evaluated, from now on; return a time after that.

        No sample will be added at that time or before it.
        """
        self._until_scraped_after(time.time())
        self._until_evaluated_after(time.time())
        at = time.time()
        self._until_scraped_after(at)
        self._until_evaluated_after(at)
        return at

    def _until_scraped_after(self, moment: float) -> None:
        number = sum(map(len, self._targets.values()))
        self._until(
            lambda: sum(at > moment for at in self.query("timestamp(up)").values()) == number, "a scrape"
        )

    def _until_evaluated_after(self, moment: float) -> None:
        # An evaluation looks at the moment that it was due, which is a little earlier than when it begins.
        due = moment + self._interval
        self._until(lambda: self._evaluated_after(due), "an evaluation of the rules")

    def _evaluated_after(self, moment: float) -> bool:
        metrics = self._http.get("/metrics").text.splitlines()
        starts = [
            float(line.rsplit(" ", 1)[1])
            for line in metrics
            if line.startswith("prometheus_rule_group_last_evaluation_timestamp_seconds")
        ]
        return bool(starts) and min(starts) > moment

    def query(self, expression: str, at: float | None = None) -> dict[Labels, float]:
        """Return the values of an instant query by labels, without the name; now, or at a Unix time."""
        return {
            tuple(sorted((key, value) for key, value in found["metric"].items() if key != "__name__")): float(
                found["value"][1]
            )
            for found in self._data("/api/v1/query", query=expression, time=at)["result"]
        }

    def number(self, expression: str, at: float | None = None) -> float:
        """Return the value of an expression that has exactly one."""
        [value] = self.query(expression, at).values()
        return value

    def samples(self, selector: str, at: float | None = None) -> list[tuple[float, float]]:
        """Return the samples (time, value) of the one series that a range selector such as `up[5m]` has."""
        [found] = self._data("/api/v1/query", query=selector, time=at)["result"]
        return [(float(time_), float(value)) for time_, value in found["values"]]

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are pending or firing."""
        found: list[dict[str, Any]] = self._data("/api/v1/alerts")["alerts"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return all rules with their health and last error."""
        return [rule for group in self._data("/api/v1/rules")["groups"] for rule in group["rules"]]

    def _data(self, path: str, **parameters: object) -> dict[str, Any]:
        given = {name: str(value) for name, value in parameters.items() if value is not None}
        answer = self._http.get(path, params=given)
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data
