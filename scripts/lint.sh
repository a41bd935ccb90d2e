#!/usr/bin/env bash
# Check style and formatting without changing files.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
.venv/bin/ruff check .
.venv/bin/ruff format --check .
if command -v shellcheck >/dev/null; then
  shellcheck scripts/*.sh run.sh .ci/run
fi
