#!/usr/bin/env bash
# Run the tests of the console in Chromium, which `make test` runs among all others. Arguments are passed to pytest.
# With CONSOLE_PICTURES=1 it also draws the pictures of docs/console.md anew.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
.venv/bin/python -m pytest -n 2 --dist loadfile tests/console "$@"
[[ ${CONSOLE_PICTURES:-} != 1 ]] || exec .venv/bin/python -m tests.console.draw_pictures
