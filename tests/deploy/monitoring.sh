#!/usr/bin/env bash
# A real Prometheus scrapes real servers: the rules load, each alert is made to fire once, every dashboard query returns data.
set -euo pipefail
cd "$(dirname "$0")/../.."
deps=${SYNTHVOL_DEPS_DIR:-$PWD/.deps}
export SYNTHVOL_BIN_DIR=${SYNTHVOL_BIN_DIR:-$PWD/build/release/bin}
for tool in prometheus promtool; do
  command -v "$tool" >/dev/null || { echo "skipped: no $tool; scripts/setup --tests installs it"; exit 77; }
done
for binary in synthvol-server synthvol-random-model synthvol; do
  [ -x "$SYNTHVOL_BIN_DIR/$binary" ] || { echo "skipped: no $SYNTHVOL_BIN_DIR/$binary; scripts/setup builds it"; exit 77; }
done
exec "${SYNTHVOL_PYTHON:-$deps/venv/bin/python}" tests/deploy/monitoring.py
