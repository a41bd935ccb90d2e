#!/usr/bin/env bash
# Run all tests except the long ones, in two processes; the tests of a file run in one, because they share gateways.
# Arguments are passed to pytest: scripts/test.sh -n 0 -x -k limits
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
exec .venv/bin/python -m pytest -n 2 --dist loadfile "$@"
