"""What importing the server does to uvicorn."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json, sys
import llm_gateway.server
import uvicorn, uvicorn.config, uvicorn.server
before = "click" in sys.modules
same = [uvicorn.Config is uvicorn.config.Config, uvicorn.Server is uvicorn.server.Server]
lacks = not hasattr(uvicorn, "made_up")
run, command = uvicorn.run, uvicorn.main
import uvicorn.main
module = sys.modules["uvicorn.main"]
late = [run is module.run is uvicorn.run, command is module.main is uvicorn.main, module.Server is uvicorn.Server]
print(json.dumps([before, same, lacks, late]))
"""


def test_uvicorn_is_whole_but_its_command_line_is_imported_when_used() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout) == [False, [True, True], True, [True, True, True]]
