#!/usr/bin/env bash
# Resolve the dependencies in pyproject.toml into requirements with pinned hashes. Needs uv and the package index.
# The pins keep their extras: without them, older pips look for a newer version of the extra and find no hash for it.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v uv >/dev/null; then
  echo "make lock needs uv: pip install uv" >&2
  exit 1
fi

resolve() {
  local output=$1
  shift
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-strip-extras \
    --custom-compile-command "make lock" "$@" pyproject.toml --output-file "$output" >/dev/null
}

resolve requirements/runtime.txt --group build
resolve requirements/otel.txt --group build --extra otel --constraint requirements/runtime.txt
resolve requirements/dev.txt --group build --group dev --constraint requirements/runtime.txt
