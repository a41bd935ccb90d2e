#!/usr/bin/env bash
# Format the code and apply all safe fixes.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
.venv/bin/ruff format .
.venv/bin/ruff check --fix .
