#!/usr/bin/env bash
# Measure what a request costs: start a fake provider, the gateway and a load generator, and print the results.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
exec .venv/bin/python -m benchmarks "$@"
