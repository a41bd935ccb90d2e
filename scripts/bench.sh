#!/usr/bin/env bash
# What a request costs: starts a fake provider, the gateway and a load, and prints the figures.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
exec .venv/bin/python -m benchmarks "$@"
