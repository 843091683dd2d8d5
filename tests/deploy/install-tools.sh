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

if [ ! -x "$GOBIN/kubelet" ] || [ ! -x "$GOBIN/kubeconform" ]; then
  [ -x "$shared/k8s/install.sh" ] ||
    { echo "install-tools: no $shared/k8s/install.sh: the control plane cannot be built here" >&2; exit 77; }
  nice -n 19 "$shared/k8s/install.sh"
fi
go_tool() { [ -x "$GOBIN/$1" ] || (cd /tmp && nice -n 19 go install -trimpath -ldflags "-s -w" "$2"); }
go_tool kube-score github.com/zegl/kube-score/cmd/kube-score@v1.20.0
go_tool helm-docs github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2
# wrapped PROGRAM PACKAGE GO_MOD_LINES [GO_LD_FLAGS]: builds a program out of a module of our own, for what `go install` refuses:
# replace and exclude directives, and modules whose list of versions is not served.
wrapped() {
  local program=$1 package=$2 requirements=$3 flags=${4:-}
  [ -x "$GOBIN/$program" ] && return
  mkdir -p "$K8S_ROOT/src/$program"
  (
    cd "$K8S_ROOT/src/$program"
    printf 'module wrapped\ngo 1.25.0\n%s\n' "$requirements" >go.mod
    printf '//go:build tools\npackage wrapped\nimport _ "%s"\n' "$package" >tools.go
    go mod tidy
    nice -n 19 go build -trimpath -ldflags "-s -w $flags" -o "$GOBIN/$program" "$package"
  )
}
wrapped helm-unittest github.com/helm-unittest/helm-unittest/cmd/helm-unittest "require github.com/helm-unittest/helm-unittest v1.1.2
replace github.com/vmware-labs/yaml-jsonpath v0.3.2 => github.com/helm-unittest/yaml-jsonpath v0.4.0"
wrapped prometheus-adapter sigs.k8s.io/prometheus-adapter/cmd/adapter "require sigs.k8s.io/prometheus-adapter v0.12.0"
wrapped docker-compose github.com/docker/compose/v2/cmd "require github.com/docker/compose/v2 v2.39.4
exclude (
	github.com/davecgh/go-spew v1.1.2-0.20180830191138-d8f796af33cc
	github.com/pmezard/go-difflib v1.0.1-0.20181226105442-5d4384ee4fb2
)" "-X github.com/docker/compose/v2/internal.Version=v2.39.4"
# Image volumes want a newer containerd than Debian's; under other names, since the other proofs run Debian's.
containerd="require github.com/containerd/containerd/v2 v2.1.4
exclude (
	github.com/davecgh/go-spew v1.1.2-0.20180830191138-d8f796af33cc
	github.com/pmezard/go-difflib v1.0.1-0.20181226105442-5d4384ee4fb2
)"
wrapped containerd2 github.com/containerd/containerd/v2/cmd/containerd "$containerd" "-X github.com/containerd/containerd/v2/version.Version=v2.1.4"
wrapped containerd2-shim github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2 "$containerd"
wrapped kube-router github.com/cloudnativelabs/kube-router/v2/cmd/kube-router "require github.com/cloudnativelabs/kube-router/v2 v2.1.0"
wrapped versitygw github.com/versity/versitygw/cmd/versitygw "require github.com/versity/versitygw v1.8.0"
if [ ! -x "$GOBIN/coredns" ]; then
  # Only the plugins that the node's configuration names: the stock program brings every cloud's libraries.
  mkdir -p "$K8S_ROOT/src/coredns"
  cd "$K8S_ROOT/src/coredns"
  printf 'module wrapped\ngo 1.24.0\nrequire github.com/coredns/coredns v1.12.4\n' >go.mod
  cat >main.go <<'M'
package main

import (
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
)

func main() { coremain.Run() }
M
  go mod tidy
  nice -n 19 go build -trimpath -ldflags "-s -w" -o "$GOBIN/coredns" .
fi
if [ ! -x "$GOBIN/rclone" ]; then
  # Of rclone's some seventy backends the two that a copy out of a bucket takes.
  mkdir -p "$K8S_ROOT/src/rclone"
  cd "$K8S_ROOT/src/rclone"
  printf 'module wrapped\ngo 1.24.0\nrequire github.com/rclone/rclone v1.68.2\n' >go.mod
  cat >main.go <<'M'
package main

import (
	_ "github.com/rclone/rclone/backend/local"
	_ "github.com/rclone/rclone/backend/s3"
	"github.com/rclone/rclone/cmd"
	_ "github.com/rclone/rclone/cmd/copy"
)

func main() { cmd.Main() }
M
  go mod tidy
  nice -n 19 go build -trimpath -ldflags "-s -w" -o "$GOBIN/rclone" .
fi

# module PATH@VERSION: downloads a Go module and prints its folder.
module() { (cd /tmp && go mod download -json "$1" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p'); }
if [ ! -f "$K8S_ROOT/schemas/.complete-2" ]; then
  crds=(
    "$(module github.com/prometheus-operator/prometheus-operator@v0.85.0)"/example/prometheus-operator-crd/monitoring.coreos.com_{servicemonitors,prometheusrules}.yaml
    "$(module github.com/kedacore/keda/v2@v2.16.1)/config/crd/bases/keda.sh_scaledobjects.yaml"
    "$(module github.com/cert-manager/cert-manager@v1.16.3)/deploy/crds/crd-certificates.yaml"
    "$(module github.com/kubeflow/training-operator@v1.8.1)/manifests/base/crds/kubeflow.org_pytorchjobs.yaml"
    # The newest of its versions that the module proxy serves.
    "$(module github.com/GoogleCloudPlatform/prometheus-engine@v0.12.0)/charts/operator/crds/monitoring.googleapis.com_podmonitorings.yaml"
  )
  for file in "${crds[@]}"; do
    # cert-manager's file is a Helm template; its conditions hold for a plain installation.
    sed '/{{/d' "$file" >"$K8S_ROOT/crds/$(basename "$file")"
    "$python" "$here/schemas.py" --crd "$file" --out "$K8S_ROOT/schemas/crd"
  done
  for release in 1.30.14 1.35.0; do
    "$python" "$here/schemas.py" --swagger "$(module "k8s.io/kubernetes@v$release")/api/openapi-spec/swagger.json" --out "$K8S_ROOT/schemas/$release"
  done
  touch "$K8S_ROOT/schemas/.complete-2"
fi
