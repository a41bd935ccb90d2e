#!/usr/bin/env bash
# The same as `make run`.
set -euo pipefail
exec "$(dirname "$0")/scripts/run.sh" "$@"
