#!/usr/bin/env bash
# Checks the Helm chart: lint, unit tests, and every value file of helm/synthvol/ci through the schemas of the oldest and
# the newest supported Kubernetes and through kube-score. Needs the tools that tests/deploy/install-tools.sh builds;
# exits 77 (skipped) where they are absent.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=${K8S_ROOT:-$HOME/.cache/synthvol-k8s}
PATH=$root/bin:$PATH
chart=helm/synthvol
for tool in helm kubeconform kube-score helm-unittest helm-docs; do
  command -v "$tool" >/dev/null ||
    { echo "skipped: no $tool in $root/bin or PATH; scripts/test-kubernetes builds it"; exit 77; }
done
[ -d "$root/schemas" ] || { echo "skipped: no $root/schemas; scripts/test-kubernetes makes them"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HELM_CACHE_HOME=$work/helm HELM_CONFIG_HOME=$work/helm HELM_DATA_HOME=$work/helm

# kube-score's findings that are meant; each with its reason.
score_exceptions=(
  # One pod is the default because a chart must start on a small node; docs/operations.md says how many a load needs.
  --ignore-test deployment-replicas
  # Tags are chosen per release and digests are offered as image.digest; pull policy IfNotPresent suits fixed tags.
  --ignore-test container-image-pull-policy
  # A CPU limit would throttle the renderer in bursts; the request reserves the cores, memory is limited.
  --ignore-test container-resources
  # The spread is by topologySpreadConstraints, which kube-score does not read as anti-affinity.
  --ignore-test deployment-has-host-podantiaffinity
  # Job, PyTorchJob and test pods only call out; the policy is about the server that others call.
  --ignore-test pod-networkpolicy
)

values=("")
for file in "$chart"/ci/*-values.yaml; do values+=("$file"); done
failures=0
for file in "${values[@]}"; do
  name=$(basename "${file:-default}" -values.yaml)
  flags=()
  [ -n "$file" ] && flags=(--values "$file")
  helm lint --strict --quiet --kube-version 1.35.0 "$chart" "${flags[@]}" >"$work/lint" 2>&1 ||
    { echo "FAIL lint $name"; cat "$work/lint"; failures=$((failures + 1)); }
  for release in 1.30.14 1.35.0; do
    # Image volumes are younger than the oldest release.
    [ "$name/$release" = image/1.30.14 ] && continue
    helm template demo "$chart" --namespace synthvol --kube-version "$release" "${flags[@]}" >"$work/$name-$release.yaml"
    kubeconform -strict -summary \
      -schema-location "$root/schemas/$release/{{.ResourceKind}}{{.KindSuffix}}.json" \
      -schema-location "$root/schemas/crd/{{.ResourceKind}}{{.KindSuffix}}.json" "$work/$name-$release.yaml" >"$work/conform" ||
      { echo "FAIL kubeconform $name $release"; cat "$work/conform"; failures=$((failures + 1)); }
    echo "$name $release: $(tail -n 1 "$work/conform")"
  done
  kube-score score --kubernetes-version v1.30 --output-format ci "${score_exceptions[@]}" "$work/$name-1.35.0.yaml" >"$work/score" 2>&1 || true
  if grep -E '^\[(CRITICAL|WARNING)\]' "$work/score"; then echo "FAIL kube-score $name"; failures=$((failures + 1)); fi
done
helm-unittest --strict --file 'tests/*_test.yaml' "$chart" || failures=$((failures + 1))

cp -r "$chart" "$work/chart"
helm-docs --chart-search-root "$work/chart" --log-level warning
cmp "$work/chart/README.md" "$chart/README.md" ||
  { echo "FAIL $chart/README.md is stale: run helm-docs --chart-search-root $chart"; failures=$((failures + 1)); }
[ "$failures" -eq 0 ] || { echo "$failures failures"; exit 1; }
echo "chart checks passed for ${#values[@]} value files"
