#!/usr/bin/env bash
# Who may import whom (pyproject.toml, tool.importlinter).
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
.venv/bin/lint-imports --no-cache
