#!/usr/bin/env bash
# Run all tests except the long ones, and report the lines of src/ that they do not cover.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
exec .venv/bin/python -m pytest -n 2 --dist loadfile --cov --cov-report=term --cov-report=html "$@"
