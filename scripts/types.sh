#!/usr/bin/env bash
# Types, strictly.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
.venv/bin/mypy
