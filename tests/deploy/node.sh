#!/usr/bin/env bash
# Runs the chart on one real node (shared/k8s/node.sh: containerd, kubelet, kube-proxy, CoreDNS in a private network
# namespace) from the images that tests/deploy/images.sh built: gRPC probes, helm test, a rolling update under load
# without a failed request, a pod killed in mid-volume and resumed, TLS with the probes still green.
set -euo pipefail
cd "$(dirname "$0")/../.."
export K8S_ROOT=${K8S_ROOT:-$HOME/.cache/synthvol-k8s}
shared=${SYNTHVOL_SHARED_DIR:-$PWD/../shared}
export K8S_BIN=$K8S_ROOT/bin K8S_RUN=$K8S_ROOT/run-real
[ -x "$shared/k8s/node.sh" ] || { echo "skipped: no $shared/k8s/node.sh"; exit 77; }
for tool in kubelet kube-proxy helm; do
  [ -x "$K8S_BIN/$tool" ] || { echo "skipped: no $K8S_BIN/$tool; scripts/test-kubernetes tools builds it"; exit 77; }
done
for tool in containerd runc conntrack iptables; do
  command -v "$tool" >/dev/null || { echo "skipped: no $tool (apt-get install containerd runc containernetworking-plugins iptables conntrack)"; exit 77; }
done
for image in server-cpu client; do
  [ -f "$K8S_ROOT/images/$image.tar" ] || { echo "skipped: no $K8S_ROOT/images/$image.tar; run scripts/test-kubernetes images"; exit 77; }
done
PATH=$K8S_BIN:$PATH
export KUBECONFIG=$K8S_RUN/kubeconfig HELM_CACHE_HOME=$K8S_RUN/helm HELM_CONFIG_HOME=$K8S_RUN/helm HELM_DATA_HOME=$K8S_RUN/helm
node() { "$shared/k8s/node.sh" "$@"; }
work=$(mktemp -d)
trap 'node down; rm -rf "$work"' EXIT
namespace=synthvol
k() { node run kubectl --namespace "$namespace" "$@"; }
h() { node run helm --namespace "$namespace" "$@"; }
step() { printf '== %s\n' "$*"; }
fail() { printf 'FAIL %s\n' "$*" >&2; k get pods -o wide >&2 || true; k get events --sort-by=.lastTimestamp >&2 | tail -n 15 || true; exit 1; }
restarts() { k get pods -l app.kubernetes.io/component=server -o 'jsonpath={range .items[*]}{.status.containerStatuses[0].restartCount}{"\n"}{end}' | awk '{n += $1} END {print n + 0}'; }

step "node up"
# The sandbox image: one static program that waits.
if [ ! -f "$K8S_ROOT/images/pause.tar" ]; then
  cc -static -Os -o "$work/pause" "$shared/k8s/pause.c"
  printf 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n' >"$work/Dockerfile"
  buildah --root "$K8S_ROOT/images/store/root" --runroot "$K8S_ROOT/images/store/run" --storage-driver overlay bud --quiet --isolation chroot --tag localhost/pause:1 "$work" >/dev/null
  buildah --root "$K8S_ROOT/images/store/root" --runroot "$K8S_ROOT/images/store/run" --storage-driver overlay push --quiet localhost/pause:1 "docker-archive:$K8S_ROOT/images/pause.tar:localhost/pause:1"
fi
node up >/dev/null
node load "$K8S_ROOT"/images/{pause,server-cpu,client}.tar >/dev/null
k create namespace "$namespace" >/dev/null
k label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted >/dev/null

step "install: two pods, gRPC probes by the kubelet"
start=$SECONDS
# Two cores for everything here: small requests; the probes are the chart's own.
values=(--set replicaCount=2 --set resources.requests.cpu=200m --set resources.requests.memory=256Mi --set resources.limits.memory=1Gi
  --set server.threads=1 --set drain.preStopSeconds=4 --set drain.longestVolumeSeconds=30)
h install demo helm/synthvol "${values[@]}" --wait --timeout 240s >"$work/install" 2>&1 || { cat "$work/install"; k logs -l app.kubernetes.io/component=server --all-containers; fail "helm install"; }
echo "two pods ready after $((SECONDS - start)) s"
k get pods -o wide
k get pods -l app.kubernetes.io/component=server -o 'jsonpath={range .items[*]}{.spec.containers[0].readinessProbe.grpc}{" ready="}{.status.containerStatuses[0].ready}{"\n"}{end}'

address=$(k get service demo-synthvol -o 'jsonpath={.spec.clusterIP}')

step "a client pod gets a volume"
# Pods of shared/k8s/node.sh have neither a default route nor, without CoreDNS, names: the chart's test pod runs with the address
# of a server pod, as the headless Service would give it.
pod=$(k get pods -l app.kubernetes.io/component=server -o 'jsonpath={.items[0].status.podIP}')
helm template demo helm/synthvol --namespace "$namespace" --kube-version 1.34.0 "${values[@]}" --show-only templates/tests/generate.yaml |
  sed "s/demo-synthvol.$namespace.svc:/$pod:/" >"$work/pod.yaml"
k apply -f - <"$work/pod.yaml" >/dev/null
k wait --for=jsonpath='{.status.phase}'=Succeeded pod/demo-synthvol-test --timeout=60s || fail "the test pod"
k delete pod demo-synthvol-test --wait >/dev/null

step "rolling update under load"
client=${SYNTHVOL_BIN_DIR:-$PWD/build/release/bin}/synthvol
# One request after the other, each on a connection of its own: each is a caller that must not notice.
load() {
  local seed=0
  while [ ! -f "$work/stop" ]; do
    if node run "$client" generate --server "$address:8500" --model demo --seed "$seed" --count 4 --format raw --output "$work/load-$1-$seed" >"$work/load-$1-$seed.log" 2>&1; then
      echo ok >>"$work/result-$1"
    else
      echo "failed: $(tail -n 1 "$work/load-$1-$seed.log")" >>"$work/result-$1"
    fi
    rm -rf "$work/load-$1-$seed"
    seed=$((seed + 4))
  done
}
load a & load_a=$!
load b & load_b=$!
h upgrade demo helm/synthvol "${values[@]}" --set server.config.queue.max_requests=512 --wait --timeout 300s >/dev/null || fail "helm upgrade"
k rollout status deployment/demo-synthvol --timeout=120s
# The old pods' drain belongs to the update.
k wait --for=delete pod -l app.kubernetes.io/component=server,'pod-template-hash!='"$(k get rs -o 'jsonpath={.items[?(@.status.readyReplicas==2)].metadata.labels.pod-template-hash}')" --timeout=120s
touch "$work/stop"
wait $load_a $load_b
good=$(cat "$work"/result-? | grep -c '^ok' || true)
bad=$(cat "$work"/result-? | grep -vc '^ok' || true)
echo "requests during the update: $good answered, $bad failed"
if [ "$bad" -ne 0 ]; then grep -hv '^ok' "$work"/result-? | head -n 3; fail "requests failed during the rolling update"; fi
[ "$good" -ge 4 ] || fail "too few requests to show anything"

step "a pod killed in mid-volume: the client resumes, same bytes"
node run "$client" generate --server "$address:8500" --model demo --seed 100 --count 60 --format raw --output "$work/whole" >/dev/null 2>&1
node run "$client" generate --server "$address:8500" --model demo --seed 100 --count 60 --format raw --output "$work/resumed" >"$work/resume.log" 2>&1 & generate=$!
for _ in $(seq 1 100); do [ "$(find "$work/resumed" -name '*.raw*' 2>/dev/null | wc -l)" -ge 3 ] && break; sleep .1; done
pids=$(pgrep -f '^/usr/bin/synthvol-server --config=/etc/synthvol/config/server.json')
[ -n "$pids" ] || fail "no server process on the node"
# Both pods' servers die by SIGKILL while the stream runs; the kubelet starts them anew.
# shellcheck disable=SC2086
kill -9 $pids
wait $generate || { tail -n 3 "$work/resume.log"; fail "the client did not resume"; }
(cd "$work/whole" && find . -type f -name '*.raw' -print0 | sort -z | xargs -0 sha256sum) >"$work/whole.sum"
(cd "$work/resumed" && find . -type f -name '*.raw' -print0 | sort -z | xargs -0 sha256sum) | diff - "$work/whole.sum" || fail "the resumed volumes differ"
echo "60 volumes equal after SIGKILL of $(wc -w <<<"$pids") servers; container restarts: $(restarts)"
[ "$(restarts)" -ge 1 ] || fail "nothing was killed"

step "TLS: the probes stay green"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=synthvol \
  -addext "subjectAltName=DNS:demo-synthvol.$namespace.svc,IP:$address" -keyout "$work/tls.key" -out "$work/tls.crt" 2>/dev/null
k create secret generic cert --from-file=tls.crt="$work/tls.crt" --from-file=tls.key="$work/tls.key" --from-file=ca.crt="$work/tls.crt" >/dev/null
h upgrade demo helm/synthvol "${values[@]}" --set tls.enabled=true --set tls.existingSecret=cert --wait --timeout 300s >/dev/null || fail "helm upgrade to TLS"
if node run "$client" models --server "$address:8500" >/dev/null 2>&1; then fail "plaintext was answered with TLS on"; fi
node run "$client" models --server "$address:8500" --tls-ca "$work/tls.crt"

step "limits and identity as the kernel sees them"
pid=$(pgrep -f '^/usr/bin/synthvol-server --config=/etc/synthvol/config/server.json' | head -n 1)
grep -E '^(Uid|CapEff|NoNewPrivs|Seccomp):' "/proc/$pid/status"
[ "$(awk '/^Uid:/{print $2}' "/proc/$pid/status")" = 65532 ] || fail "the server runs as another user"
[ "$(awk '/^CapEff:/{print $2}' "/proc/$pid/status")" = 0000000000000000 ] || fail "the server has capabilities"

step "uninstall"
h uninstall demo --wait >/dev/null
# The pods drain first.
k wait --for=delete pod -l app.kubernetes.io/instance=demo --timeout=120s >/dev/null
[ -z "$(k get pods -l app.kubernetes.io/instance=demo -o name)" ] || fail "pods are left"
echo "real-node proof passed"
