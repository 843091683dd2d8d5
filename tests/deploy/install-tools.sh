#!/usr/bin/env bash
# Builds what the Kubernetes checks need into $K8S_ROOT (default ~/.cache/synthvol-k8s): the control plane by
# shared/k8s/install.sh, then the chart's judges and the schemas. Idempotent; 15 to 40 minutes the first time.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/tests/deploy
export K8S_ROOT=${K8S_ROOT:-$HOME/.cache/synthvol-k8s}
shared=${SYNTHVOL_SHARED_DIR:-$PWD/../shared}
python=${SYNTHVOL_PYTHON:-$PWD/.deps/venv/bin/python}
export PATH=/usr/local/go/bin:$PATH GOTOOLCHAIN=local GOBIN=$K8S_ROOT/bin GOFLAGS="-mod=mod -buildvcs=false" CGO_ENABLED=0
export GOPATH=${GOPATH:-$K8S_ROOT/gopath} GOCACHE=${GOCACHE:-$K8S_ROOT/gocache}
mkdir -p "$K8S_ROOT/bin" "$K8S_ROOT/crds"

if [ ! -x "$GOBIN/coredns" ] || [ ! -x "$GOBIN/kubelet" ]; then
  [ -x "$shared/k8s/install.sh" ] ||
    { echo "install-tools: no $shared/k8s/install.sh: the control plane cannot be built here" >&2; exit 77; }
  nice -n 19 "$shared/k8s/install.sh"
fi
go_tool() { [ -x "$GOBIN/$1" ] || (cd /tmp && nice -n 19 go install -trimpath -ldflags "-s -w" "$2"); }
go_tool kube-score github.com/zegl/kube-score/cmd/kube-score@v1.20.0
go_tool helm-docs github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2
if [ ! -x "$GOBIN/helm-unittest" ]; then
  # A replace directive, which `go install` refuses, needs a module of our own around it.
  mkdir -p "$K8S_ROOT/src/unittest"
  cd "$K8S_ROOT/src/unittest"
  cat >go.mod <<'M'
module unittest
go 1.24.0
require github.com/helm-unittest/helm-unittest v1.1.2
replace github.com/vmware-labs/yaml-jsonpath v0.3.2 => github.com/helm-unittest/yaml-jsonpath v0.4.0
M
  printf '//go:build tools\npackage u\nimport _ "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"\n' >tools.go
  go mod tidy
  nice -n 19 go build -trimpath -ldflags "-s -w" -o "$GOBIN/helm-unittest" github.com/helm-unittest/helm-unittest/cmd/helm-unittest
fi

# module PATH@VERSION: downloads a Go module and prints its folder.
module() { (cd /tmp && go mod download -json "$1" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p'); }
if [ ! -f "$K8S_ROOT/schemas/.complete" ]; then
  crds=(
    "$(module github.com/prometheus-operator/prometheus-operator@v0.85.0)"/example/prometheus-operator-crd/monitoring.coreos.com_{servicemonitors,prometheusrules}.yaml
    "$(module github.com/kedacore/keda/v2@v2.16.1)/config/crd/bases/keda.sh_scaledobjects.yaml"
    "$(module github.com/cert-manager/cert-manager@v1.16.3)/deploy/crds/crd-certificates.yaml"
    "$(module github.com/kubeflow/training-operator@v1.8.1)/manifests/base/crds/kubeflow.org_pytorchjobs.yaml"
  )
  for file in "${crds[@]}"; do
    # cert-manager's file is a Helm template; its conditions hold for a plain installation.
    sed '/{{/d' "$file" >"$K8S_ROOT/crds/$(basename "$file")"
    "$python" "$here/schemas.py" --crd "$file" --out "$K8S_ROOT/schemas/crd"
  done
  for release in 1.30.14 1.35.0; do
    "$python" "$here/schemas.py" --swagger "$(module "k8s.io/kubernetes@v$release")/api/openapi-spec/swagger.json" --out "$K8S_ROOT/schemas/$release"
  done
  touch "$K8S_ROOT/schemas/.complete"
fi
