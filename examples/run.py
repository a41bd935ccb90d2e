"""Starts a gateway for dgen-ping's clients at http://127.0.0.1:8001, ready for examples/test_client.py.

Settings come from the environment, then from `.env` in the current folder, and without that file from examples/.env.
If the gateway has no provider, a simulated one is added for DEFAULT_MODEL, so that there is something to test with.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

try:
    from dotenv import dotenv_values

    import llm_gateway  # noqa: F401 - started below, with the same Python
except ModuleNotFoundError as missing:
    sys.exit(
        f"The module {missing.name!r} is not installed in this Python. Run `make install` once, then "
        "`.venv/bin/python examples/run.py`."
    )

TEMPLATE = Path(__file__).with_name(".env")
DEFAULTS = {"HOST": "127.0.0.1", "PORT": "8001", "DATA_DIR": "data", "DEFAULT_MODEL": "gemini"}
START_SECONDS = 60
# Requests to this machine use no proxy.
OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def settings() -> dict[str, str]:
    """Return the environment of the gateway."""
    own = Path(".env")
    file = dotenv_values(own if own.exists() else TEMPLATE)
    given = {name: value for name, value in file.items() if value}
    return DEFAULTS | given | {name: value for name, value in os.environ.items() if value}


def is_ready(url: str) -> bool:
    """Tell whether the gateway takes requests."""
    try:
        with OPEN(f"{url}/health/ready", timeout=5):
            return True
    except urllib.error.HTTPError as error:
        # With OPS_TOKEN it does not say; it answers, which is enough.
        return error.code == 401
    except OSError:
        return False


def admin(url: str, key: str, method: str, path: str, body: Any = None) -> Any:
    """Call the admin API."""
    request = urllib.request.Request(
        f"{url}/admin/v1{path}",
        None if body is None else json.dumps(body).encode(),
        {"authorization": f"Bearer {key}", "content-type": "application/json"},
        method=method,
    )
    with OPEN(request, timeout=15) as answer:
        return json.load(answer)


def add_provider(url: str, environment: dict[str, str]) -> None:
    """Add a simulated provider if there is none at all."""
    key = environment.get("ADMIN_KEY") or (Path(environment["DATA_DIR"]) / "admin_key").read_text().strip()
    if admin(url, key, "GET", "/providers")["data"]:
        return
    model = environment["DEFAULT_MODEL"]
    admin(
        url,
        key,
        "POST",
        "/providers",
        {
            "provider_key": "example",
            "provider_type": "simulated",
            "api_base": "simulated://example",
            "model_mapping": {model: model},
        },
    )
    print(f"There was no provider: a simulated one now serves the model {model!r}.", flush=True)


def main() -> int:
    """Run the gateway until it ends, and return its exit code."""
    environment = settings()
    host = environment["HOST"]
    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{environment['PORT']}"  # noqa: S104 - compared
    if is_ready(url):
        print(f"A gateway answers at {url} already. Stop it, or set PORT to a free port.", file=sys.stderr)
        return 1
    gateway = subprocess.Popen([sys.executable, "-m", "llm_gateway", "serve"], env=environment)

    def stop(number: int, frame: object) -> None:
        del frame
        gateway.send_signal(number)

    # The terminal sends SIGINT to both; the gateway takes two signals within a second for one.
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    deadline = time.monotonic() + START_SECONDS
    while gateway.poll() is None and not is_ready(url):
        if time.monotonic() > deadline:
            gateway.terminate()
            print(f"The gateway does not answer at {url}.", file=sys.stderr)
            return gateway.wait() or 1
        time.sleep(0.1)
    if gateway.poll() is None:
        try:
            add_provider(url, environment)
        except (OSError, KeyError) as error:
            print(f"No provider was added: {error}", file=sys.stderr)
        print(f"The service runs at {url}, its documentation at {url}/docs.", flush=True)
    return gateway.wait()


if __name__ == "__main__":
    sys.exit(main())
