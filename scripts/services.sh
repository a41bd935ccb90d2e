#!/usr/bin/env bash
# Install the servers that tests start or look for, if they are missing: PostgreSQL, Redis, PgBouncer, Prometheus, and
# Chromium for the tests of the console (Debian, Ubuntu); and what compiles the parts in C. Tests start a Prometheus of
# their own: the service of the package, on port 9090, is not started.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin"
shopt -s nullglob
missing=()
postgres=(/usr/lib/postgresql/*/bin/postgres)
[[ ${#postgres[@]} -gt 0 ]] || command -v postgres >/dev/null || missing+=(postgresql)
command -v redis-server >/dev/null || missing+=(redis-server)
command -v pgbouncer >/dev/null || missing+=(pgbouncer)
command -v cc >/dev/null || missing+=(gcc libc6-dev)
# The system's Python may be the one that `make install` chooses.
if [[ -x /usr/bin/python3 ]] && ! /usr/bin/python3 -c '
import sys, sysconfig
from pathlib import Path
sys.exit(not Path(sysconfig.get_path("include"), "Python.h").exists())'; then
  missing+=(python3-dev)
fi
# Without the packages that they recommend.
alone=()
chromium=
command -v prometheus >/dev/null && command -v promtool >/dev/null || alone+=(prometheus)
command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || chromium=chromium
[[ -z $chromium ]] || alone+=("$chromium")
if [[ ${#missing[@]} -eq 0 && ${#alone[@]} -eq 0 ]]; then
  echo "PostgreSQL, Redis, PgBouncer, Prometheus, Chromium and a C compiler are installed"
  exit
fi
if ! command -v apt-get >/dev/null; then
  echo "Missing: ${missing[*]} ${alone[*]}. Install them with your system's package manager." >&2
  exit 1
fi
as_root=()
[[ $(id -u) -eq 0 ]] || as_root=(sudo)
"${as_root[@]}" apt-get update -qq
# The one without windows takes half the time, and not every release has it.
if [[ -n $chromium ]] && apt-cache show chromium-headless-shell >/dev/null 2>&1; then
  alone=("${alone[@]/%chromium/chromium-headless-shell}")
fi
echo "Installing ${missing[*]} ${alone[*]}"
install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq)
[[ ${#missing[@]} -eq 0 ]] || "${install[@]}" "${missing[@]}"
[[ ${#alone[@]} -gt 0 ]] || exit 0
# Debian's way to forbid a package to start its service; images of containers have this file already. Packages that
# Prometheus recommends would bring an exporter with a service of its own.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
fi
"${install[@]}" --no-install-recommends "${alone[@]}"
