#!/usr/bin/env bash
# All tests but the long ones, and which lines of src/ they never reach.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
exec .venv/bin/python -m pytest -n 2 --dist loadfile --cov --cov-report=term --cov-report=html "$@"
