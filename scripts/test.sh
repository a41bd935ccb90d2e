#!/usr/bin/env bash
# All tests but the long ones, in two processes; a file's tests stay together, because they share gateways.
# Arguments go to pytest: scripts/test.sh -n 0 -x -k limits
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
exec .venv/bin/python -m pytest -n 2 --dist loadfile "$@"
