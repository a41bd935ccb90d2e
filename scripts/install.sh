#!/usr/bin/env bash
# Install what requirements/<set>.txt pins, and this package, into .venv; do nothing when it is up to date.
# Usage: scripts/install.sh [runtime|otel|dev]
set -euo pipefail
cd "$(dirname "$0")/.."

readonly pins=${1:-runtime}
readonly requirements=requirements/$pins.txt
readonly stamps=.venv/.installed

say() { printf '%s\n' "$*" >&2; }

# What .venv depends on: the pins, the package metadata (pyproject.toml up to the settings of the development tools),
# what is compiled, and the path, because .venv cannot be moved.
wanted() {
  cksum <"requirements/$1.txt"
  { find src -name '*.[ch]' | LC_ALL=C sort | xargs cat hatch_build.py; } 2>/dev/null | cksum || true
  echo "${LLM_GATEWAY_COMPILE:-auto}"
  sed '/^\[tool\.ruff\]/,$d' pyproject.toml | cksum
  pwd
}

is_new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' </dev/null >/dev/null 2>&1
}

# Optimised builds have profile-guided optimisation (python.org, uv), or link the interpreter statically (Debian).
# pyenv's default builds do neither, and the gateway needs a fifth more CPU time on them (docs/performance.md).
is_optimised() {
  "$1" -c '
import ensurepip, sys, sysconfig, venv
from pathlib import Path
maps = Path("/proc/self/maps")
sys.exit(
    "--enable-optimizations" not in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    and (not maps.exists() or "libpython" in maps.read_text())
)' </dev/null >/dev/null 2>&1
}

# Print $PYTHON if it is set, else the first optimised build on PATH, else the first Python on PATH.
find_python() {
  local candidate path first=
  if [[ -n ${PYTHON:-} ]]; then
    is_new_enough "$PYTHON" && { echo "$PYTHON"; return; }
    say "PYTHON=$PYTHON is not a Python 3.11 or newer."
    return 1
  fi
  for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
    # All of that name: the shims of version managers come first on PATH and hide the system's Python.
    while read -r path; do
      # Skip our own .venv, which is about to be removed.
      [[ ${path%/*} -ef .venv/bin ]] && continue
      is_new_enough "$path" || continue
      is_optimised "$path" && { echo "$path"; return; }
      first=${first:-$path}
    done < <(type -ap "$candidate")
  done
  if [[ -n $first ]]; then
    echo "$first"
    return
  fi
  say "No Python 3.11 or newer was found on PATH. Install one, or specify it: make install PYTHON=/path/to/python3"
  return 1
}

make_environment() {
  local python
  python=$(find_python)
  say "Creating .venv with $("$python" --version) ($python; set PYTHON to use another)"
  rm -rf .venv
  if ! "$python" -m venv .venv >&2; then
    rm -rf .venv
    say "$python cannot create virtual environments. On Debian and Ubuntu: apt install python3-venv"
    return 1
  fi
}

pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input "$@" >&2; }

[[ -f $requirements ]] || { say "There is no $requirements; the sets are runtime, otel and dev."; exit 2; }
if wanted "$pins" | cmp -s - "$stamps-$pins"; then
  exit 0
fi

# Recreate an incomplete environment, and one whose Python was removed.
if ! is_new_enough .venv/bin/python || ! pip --version >/dev/null 2>&1; then
  make_environment
fi
say "Installing $requirements into .venv"
rm -f "$stamps"-*
pip install --quiet --quiet --require-hashes -r "$requirements"
pip install --quiet --quiet --no-deps --no-build-isolation --editable .
if ! .venv/bin/python -c 'import sys; from llm_gateway.sockets.write_batch import IS_COMPILED; sys.exit(not IS_COMPILED)'; then
  say "Nothing was compiled: the gateway runs in Python alone, and takes a few per cent more CPU. A C compiler and Python's
headers change that (Debian, Ubuntu: apt install gcc python3-dev; then remove .venv and install again)."
fi

# otel.txt and dev.txt contain all of runtime.txt (a test checks this).
wanted runtime >"$stamps-runtime"
if [[ $pins == dev ]]; then
  wanted dev >"$stamps-dev"
fi
