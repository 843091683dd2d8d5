#!/usr/bin/env bash
# Sourced by node.sh and policy.sh: one real node (shared/k8s/node.sh: containerd, kubelet, kube-proxy, CoreDNS in a private
# network namespace) with the images that images.sh built, and what both scripts do with it.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
# shellcheck source=tests/deploy/waiting.bash
. tests/deploy/waiting.bash
export K8S_ROOT=${K8S_ROOT:-$HOME/.cache/synthvol-k8s}
shared=${SYNTHVOL_SHARED_DIR:-$PWD/../shared}
export K8S_BIN=$K8S_ROOT/bin K8S_RUN=$K8S_ROOT/run-real
binaries=${SYNTHVOL_BIN_DIR:-$PWD/build/release/bin}
client=$binaries/synthvol
namespace=synthvol
# Two cores for everything here: small requests; the probes are the chart's own. Used by the scripts that source this.
# shellcheck disable=SC2034
values=(--set replicaCount=2 --set resources.requests.cpu=200m --set resources.requests.memory=256Mi --set resources.limits.memory=1Gi
  --set server.threads=1 --set drain.preStopSeconds=4 --set drain.longestVolumeSeconds=30)
PATH=$K8S_BIN:$PATH
export KUBECONFIG=$K8S_RUN/kubeconfig HELM_CACHE_HOME=$K8S_RUN/helm HELM_CONFIG_HOME=$K8S_RUN/helm HELM_DATA_HOME=$K8S_RUN/helm

# needs TOOL...: skips the script where a part is absent.
needs() {
  local tool
  [ -x "$shared/k8s/node.sh" ] || { echo "skipped: no $shared/k8s/node.sh"; exit 77; }
  for tool in kubelet kube-proxy helm coredns "$@"; do
    [ -x "$K8S_BIN/$tool" ] || { echo "skipped: no $K8S_BIN/$tool; scripts/test-kubernetes tools builds it"; exit 77; }
  done
  for tool in containerd runc conntrack iptables; do
    command -v "$tool" >/dev/null || { echo "skipped: no $tool (apt-get install containerd runc containernetworking-plugins iptables conntrack)"; exit 77; }
  done
  for tool in server-cpu client; do
    [ -f "$K8S_ROOT/images/$tool.tar" ] || { echo "skipped: no $K8S_ROOT/images/$tool.tar; run scripts/test-kubernetes images"; exit 77; }
  done
  [ -x "$client" ] || { echo "skipped: no $client; scripts/setup builds it"; exit 77; }
}
node() { "$shared/k8s/node.sh" "$@"; }
b() { buildah --root "$K8S_ROOT/images/store/root" --runroot "$K8S_ROOT/images/store/run" --storage-driver overlay "$@"; }
work=$(mktemp -d)
started=()
cleanup() {
  touch "$work/stop"
  [ ${#started[@]} -eq 0 ] || kill "${started[@]}" 2>/dev/null || true
  wait
  node down
  rm -rf "$work"
}
trap cleanup EXIT
k() { node run kubectl --namespace "$namespace" "$@"; }
h() { node run helm --namespace "$namespace" "$@"; }
step() { printf '== %s\n' "$*"; }
fail() { printf 'FAIL %s\n' "$*" >&2; k get pods -o wide >&2 || true; k get events --sort-by=.lastTimestamp >&2 | tail -n 15 || true; exit 1; }
server_pods() { k get pods -l app.kubernetes.io/component=server --field-selector=status.phase=Running "$@"; }
# start LOG COMMAND...: the command in the node's network, without a shell in between, so that its number is the one to end.
start() { local log=$1; shift; nsenter --target "$(cat "$K8S_RUN/netns.pid")" --net "$@" >"$work/$log.log" 2>&1 & started+=($!); }

# image_from NAME FILE <DOCKERFILE: builds FROM scratch around files in $work/build, into $K8S_ROOT/images/FILE.tar, once.
image_from() {
  cat >"$work/build/Dockerfile"
  [ -f "$K8S_ROOT/images/$2.tar" ] && return
  b bud --quiet --isolation chroot --tag "$1" "$work/build" >/dev/null
  b push --quiet "$1" "docker-archive:$K8S_ROOT/images/$2.tar:$1"
}

# node_up IMAGE...: the node with the sandbox image (one static program that waits), the server, the client and others.
node_up() {
  local image tars=()
  mkdir -p "$work/build"
  cc -static -Os -o "$work/build/pause" "$shared/k8s/pause.c"
  printf 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n' | image_from localhost/pause:1 pause
  node up >/dev/null
  # A default route for the pods, so that they reach Services; what stays on the bridge goes back through kube-proxy's NAT too.
  sed -i 's/"isGateway":true/"isGateway":true,"isDefaultGateway":true/' "$K8S_RUN/cni/10-bridge.conflist"
  node run iptables -t nat -A POSTROUTING -s 10.88.0.0/16 -d 10.88.0.0/16 -j MASQUERADE
  for image in pause server-cpu client "$@"; do tars+=("$K8S_ROOT/images/$image.tar"); done
  node load "${tars[@]}" >/dev/null
  k create namespace "$namespace" >/dev/null
  k label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted >/dev/null
}
