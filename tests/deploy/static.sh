#!/usr/bin/env bash
# Judges what deployment consists of without building anything: shellcheck, hadolint, yamllint, promtool (syntax and unit
# tests of the rules), the chart's values against their schema, and check_static.py (metric names, alert runbooks, pins).
set -euo pipefail
cd "$(dirname "$0")/../.."
deps=${SYNTHVOL_DEPS_DIR:-$PWD/.deps}
python=${SYNTHVOL_PYTHON:-$deps/venv/bin/python}
bin=$(dirname "$python")
for tool in "$bin/hadolint" "$bin/yamllint" "$(command -v shellcheck || echo shellcheck)" "$(command -v promtool || echo promtool)"; do
  [ -x "$tool" ] || { echo "skipped: no $tool; scripts/setup --tests installs it"; exit 77; }
done
mapfile -t scripts < <(git ls-files -co --exclude-standard -- 'deploy/*' 'tests/deploy/*.sh' 'tests/deploy/*.bash' scripts/test-kubernetes |
  xargs grep -lE '^#!.*(ba)?sh$')
shellcheck --external-sources "${scripts[@]}"
"$bin/hadolint" --config deploy/image/hadolint.yaml Dockerfile
"$python" -m yamllint --strict --config-file deploy/yamllint.yaml deploy helm/synthvol/values.yaml helm/synthvol/Chart.yaml \
  helm/synthvol/ci helm/synthvol/files helm/synthvol/tests tests/deploy
promtool check rules helm/synthvol/files/rules.yaml
promtool check config --syntax-only deploy/compose/prometheus.yaml
promtool test rules tests/deploy/rules_test.yaml
"$python" tests/deploy/check_static.py
echo "static checks passed for ${#scripts[@]} scripts and the rest"
