#!/usr/bin/env bash
# Does the same as `make run`.
set -euo pipefail
exec "$(dirname "$0")/scripts/run.sh" "$@"
