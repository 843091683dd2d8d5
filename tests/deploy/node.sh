#!/usr/bin/env bash
# Runs the chart on one real node (shared/k8s/node.sh: containerd, kubelet, kube-proxy, CoreDNS in a private network
# namespace) from the images that tests/deploy/images.sh built: gRPC probes, helm test, a rolling update under load
# without a failed request, a pod killed in mid-volume and resumed, TLS with the probes still green, and the HPA reading
# the queue's metric by way of a real Prometheus and prometheus-adapter.
set -euo pipefail
cd "$(dirname "$0")/../.."
export K8S_ROOT=${K8S_ROOT:-$HOME/.cache/synthvol-k8s}
shared=${SYNTHVOL_SHARED_DIR:-$PWD/../shared}
export K8S_BIN=$K8S_ROOT/bin K8S_RUN=$K8S_ROOT/run-real
[ -x "$shared/k8s/node.sh" ] || { echo "skipped: no $shared/k8s/node.sh"; exit 77; }
for tool in kubelet kube-proxy helm coredns prometheus-adapter; do
  [ -x "$K8S_BIN/$tool" ] || { echo "skipped: no $K8S_BIN/$tool; scripts/test-kubernetes tools builds it"; exit 77; }
done
for tool in containerd runc conntrack iptables prometheus; do
  command -v "$tool" >/dev/null || { echo "skipped: no $tool (apt-get install containerd runc containernetworking-plugins iptables conntrack prometheus)"; exit 77; }
done
for image in server-cpu client; do
  [ -f "$K8S_ROOT/images/$image.tar" ] || { echo "skipped: no $K8S_ROOT/images/$image.tar; run scripts/test-kubernetes images"; exit 77; }
done
PATH=$K8S_BIN:$PATH
export KUBECONFIG=$K8S_RUN/kubeconfig HELM_CACHE_HOME=$K8S_RUN/helm HELM_CONFIG_HOME=$K8S_RUN/helm HELM_DATA_HOME=$K8S_RUN/helm
node() { "$shared/k8s/node.sh" "$@"; }
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
namespace=synthvol
k() { node run kubectl --namespace "$namespace" "$@"; }
h() { node run helm --namespace "$namespace" "$@"; }
step() { printf '== %s\n' "$*"; }
fail() { printf 'FAIL %s\n' "$*" >&2; k get pods -o wide >&2 || true; k get events --sort-by=.lastTimestamp >&2 | tail -n 15 || true; exit 1; }
# until_true SECONDS COMMAND...: waits until the command succeeds.
until_true() { local end=$((SECONDS + $1)); shift; until "$@" >/dev/null 2>&1; do [ "$SECONDS" -lt "$end" ] || return 1; sleep .5; done; }
server_pods() { k get pods -l app.kubernetes.io/component=server --field-selector=status.phase=Running "$@"; }
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
# A default route for the pods, so that they reach Services; what stays on the bridge goes back through kube-proxy's NAT too.
sed -i 's/"isGateway":true/"isGateway":true,"isDefaultGateway":true/' "$K8S_RUN/cni/10-bridge.conflist"
node run iptables -t nat -A POSTROUTING -s 10.88.0.0/16 -d 10.88.0.0/16 -j MASQUERADE
node load "$K8S_ROOT"/images/{pause,server-cpu,client}.tar >/dev/null
k create namespace "$namespace" >/dev/null
k label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted >/dev/null

step "install: two pods, gRPC probes by the kubelet"
start=$SECONDS
# Two cores for everything here: small requests; the probes are the chart's own.
values=(--set replicaCount=2 --set resources.requests.cpu=200m --set resources.requests.memory=256Mi --set resources.limits.memory=1Gi
  --set server.threads=1 --set drain.preStopSeconds=4 --set drain.longestVolumeSeconds=30)
h install demo helm/synthvol "${values[@]}" --wait --timeout 400s >"$work/install" 2>&1 || { cat "$work/install"; k logs -l app.kubernetes.io/component=server --all-containers; fail "helm install"; }
echo "two pods ready after $((SECONDS - start)) s"
k get pods -o wide
k get pods -l app.kubernetes.io/component=server -o 'jsonpath={range .items[*]}{.spec.containers[0].readinessProbe.grpc}{" ready="}{.status.containerStatuses[0].ready}{"\n"}{end}'

address=$(k get service demo-synthvol -o 'jsonpath={.spec.clusterIP}')

step "helm test: a client pod gets a volume by the Service's name"
h test demo --timeout 400s || { k logs demo-synthvol-test; fail "helm test"; }

step "the headless Service's name has the addresses of both pods"
named() { node run "${SYNTHVOL_PYTHON:-$PWD/.deps/venv/bin/python}" - "demo-synthvol-headless.$namespace.svc.cluster.local" <<'P'
import socket, struct, sys
labels = b"".join(bytes([len(part)]) + part.encode() for part in sys.argv[1].split("."))
query = struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
    asker.settimeout(20)
    asker.sendto(query, ("10.88.0.1", 53))
    reply = asker.recv(512)
# The address is the last field of each answer.
addresses = [reply[i + 10:i + 14] for i in range(len(query), len(reply) - 13) if reply[i:i + 4] == b"\0\1\0\1" and reply[i + 8:i + 10] == b"\0\4"]
print(*sorted(socket.inet_ntoa(address) for address in addresses))
P
}
both() { [ "$(named)" = "$(server_pods -o 'jsonpath={range .items[*]}{.status.podIP}{"\n"}{end}' | sort | xargs)" ]; }
until_true 60 both || fail "DNS says '$(named)'"
echo "DNS: $(named)"

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
h upgrade demo helm/synthvol "${values[@]}" --set server.config.queue.max_requests=512 --wait --timeout 400s >/dev/null || fail "helm upgrade"
k rollout status deployment/demo-synthvol --timeout=300s
# The old pods' drain belongs to the update.
k wait --for=delete pod -l app.kubernetes.io/component=server,'pod-template-hash!='"$(k get rs -o 'jsonpath={.items[?(@.status.readyReplicas==2)].metadata.labels.pod-template-hash}')" --timeout=300s
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
begun() { [ "$(find "$work/resumed" -name '*.raw*' 2>/dev/null | wc -l)" -ge 3 ]; }
until_true 120 begun || fail "no volume arrived"
pids=$(pgrep -f '^/usr/bin/synthvol-server --config=/etc/synthvol/config/server.json')
[ -n "$pids" ] || fail "no server process on the node"
# Both pods' servers die by SIGKILL while the stream runs; the kubelet starts them anew.
# shellcheck disable=SC2086
kill -9 $pids
wait $generate || { tail -n 3 "$work/resume.log"; fail "the client did not resume"; }
(cd "$work/whole" && find . -type f -name '*.raw' -print0 | sort -z | xargs -0 sha256sum) >"$work/whole.sum"
(cd "$work/resumed" && find . -type f -name '*.raw' -print0 | sort -z | xargs -0 sha256sum) | diff - "$work/whole.sum" || fail "the resumed volumes differ"
restarted() { [ "$(restarts)" -ge 1 ]; }
until_true 60 restarted || fail "nothing was killed"
echo "60 volumes equal after SIGKILL of $(wc -w <<<"$pids") servers; container restarts: $(restarts)"

step "TLS: the probes stay green"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=synthvol \
  -addext "subjectAltName=DNS:demo-synthvol.$namespace.svc,IP:$address" -keyout "$work/tls.key" -out "$work/tls.crt" 2>/dev/null
k create secret generic cert --from-file=tls.crt="$work/tls.crt" --from-file=tls.key="$work/tls.key" --from-file=ca.crt="$work/tls.crt" >/dev/null
h upgrade demo helm/synthvol "${values[@]}" --set tls.enabled=true --set tls.existingSecret=cert --wait --timeout 400s >/dev/null || fail "helm upgrade to TLS"
# The plaintext pods serve on until they are out of every table and drained.
refused() { ! node run "$client" models --server "$address:8500" --retries 1; }
until_true 180 refused || fail "plaintext was answered with TLS on"
node run "$client" models --server "$address:8500" --tls-ca "$work/tls.crt"

step "limits and identity as the kernel sees them"
pid=$(pgrep -f '^/usr/bin/synthvol-server --config=/etc/synthvol/config/server.json' | head -n 1)
grep -E '^(Uid|CapEff|NoNewPrivs|Seccomp):' "/proc/$pid/status"
[ "$(awk '/^Uid:/{print $2}' "/proc/$pid/status")" = 65532 ] || fail "the server runs as another user"
[ "$(awk '/^CapEff:/{print $2}' "/proc/$pid/status")" = 0000000000000000 ] || fail "the server has capabilities"

step "the HPA reads the queue's metric: Prometheus, prometheus-adapter, kube-controller-manager"
k rollout status deployment/demo-synthvol --timeout=300s >/dev/null
# Debian's Prometheus has no service discovery by Kubernetes: a loop writes what it would find.
cat >"$work/prometheus.yaml" <<C
global: {scrape_interval: 2s}
scrape_configs:
  - job_name: synthvol
    file_sd_configs: [{files: ["$work/targets.json"], refresh_interval: 2s}]
C
write_targets() {
  while [ ! -f "$work/stop" ]; do
    server_pods -o 'jsonpath={range .items[*]}{"{\"targets\": [\""}{.status.podIP}{":9464\"], \"labels\": {\"namespace\": \""}{.metadata.namespace}{"\", \"pod\": \""}{.metadata.name}{"\"}}\n"}{end}' |
      paste -sd, | sed 's/.*/[&]/' >"$work/targets.new" && mv "$work/targets.new" "$work/targets.json"
    sleep 2
  done
}
rm -f "$work/stop"
write_targets & started+=($!)
# The adapter's rule that docs/operations.md gives.
awk '/^```yaml adapter/ {on = 1; next} /^```/ {on = 0} on' docs/operations.md >"$work/adapter.yaml"
# Without a shell in between, so that their numbers are the ones to end.
netns=$(cat "$K8S_RUN/netns.pid")
nsenter --target "$netns" --net prometheus --config.file="$work/prometheus.yaml" --storage.tsdb.path="$work/tsdb" --web.listen-address=127.0.0.1:19090 --log.level=warn \
  >"$work/prometheus.log" 2>&1 & started+=($!)
nsenter --target "$netns" --net "$K8S_BIN/prometheus-adapter" --prometheus-url=http://127.0.0.1:19090 --config="$work/adapter.yaml" --metrics-relist-interval=10s \
  --secure-port=16444 --bind-address=127.0.0.1 --cert-dir="$work" --lister-kubeconfig="$KUBECONFIG" --authentication-kubeconfig="$KUBECONFIG" \
  --authorization-kubeconfig="$KUBECONFIG" >"$work/adapter.log" 2>&1 & started+=($!)
# The adapter runs beside the API server, which has no front-proxy certificate to show it: anonymous may read metrics, here.
k apply -f - >/dev/null <<C
{apiVersion: v1, kind: Service, metadata: {name: metrics-adapter, namespace: $namespace}, spec: {type: ExternalName, externalName: localhost, ports: [{port: 16444}]}}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.custom.metrics.k8s.io}
spec: {group: custom.metrics.k8s.io, version: v1beta1, insecureSkipTLSVerify: true, groupPriorityMinimum: 100, versionPriority: 100,
  service: {name: metrics-adapter, namespace: $namespace, port: 16444}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: read-metrics}
rules:
  - {apiGroups: [custom.metrics.k8s.io], resources: ["*"], verbs: [get, list]}
  - {nonResourceURLs: ["/apis/custom.metrics.k8s.io/*", "/openapi/*"], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: read-metrics}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: read-metrics}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "system:anonymous"}]
C
h upgrade demo helm/synthvol "${values[@]}" --set autoscaling.mode=hpa --set autoscaling.minReplicas=1 --set autoscaling.maxReplicas=3 \
  --set autoscaling.targetWaitSeconds=1 --set autoscaling.scaleDownSeconds=15 >/dev/null || fail "helm upgrade to HPA"
hpa() { k get hpa demo-synthvol -o "jsonpath={$1}"; }
active() { [ "$(hpa '.status.conditions[?(@.type=="ScalingActive")].status')" = True ]; }
until_true 180 active || { hpa .status; tail -n 5 "$work/adapter.log"; fail "the HPA gets no metric"; }
at_most() { [ "$(k get deployment demo-synthvol -o 'jsonpath={.spec.replicas}')" -le "$1" ]; }
until_true 300 at_most 1 || fail "an idle server keeps more than one pod"
value() { hpa '.status.currentMetrics[0].pods.current.averageValue'; }
has_value() { [ -n "$(value)" ]; }
until_true 120 has_value || { hpa .status; fail "the HPA has no value"; }
echo "the HPA reads an expected wait of $(value) s per pod for 1 s wanted, and keeps $(hpa .status.desiredReplicas) pod"
k delete apiservice v1beta1.custom.metrics.k8s.io >/dev/null

step "uninstall"
h uninstall demo --wait >/dev/null
# The pods drain first.
k wait --for=delete pod -l app.kubernetes.io/instance=demo --timeout=300s >/dev/null
[ -z "$(k get pods -l app.kubernetes.io/instance=demo -o name)" ] || fail "pods are left"
echo "real-node proof passed"
