#!/usr/bin/env bash
# Runs the chart on one real node (shared/k8s/node.sh: containerd, kubelet, kube-proxy, CoreDNS in a private network
# namespace) from the images that tests/deploy/images.sh built: gRPC probes, helm test, a rolling update under load
# without a failed request, a pod killed in mid-volume and resumed, TLS with the probes still green, and the HPA adding and
# removing pods by the queue's metric, by way of a real Prometheus and prometheus-adapter.
set -euo pipefail
# shellcheck source=tests/deploy/real-node.bash
. "$(dirname "$0")/real-node.bash"
needs prometheus-adapter
command -v prometheus >/dev/null || { echo "skipped: no prometheus (apt-get install prometheus)"; exit 77; }
restarts() { k get pods -l app.kubernetes.io/component=server -o 'jsonpath={range .items[*]}{.status.containerStatuses[0].restartCount}{"\n"}{end}' | awk '{n += $1} END {print n + 0}'; }

step "node up"
# shellcheck disable=SC2119
node_up

step "install: two pods, gRPC probes by the kubelet"
start=$SECONDS
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
# The plaintext pods serve on until they are out of every table and drained: until two pods are left, whatever their phase.
k rollout status deployment/demo-synthvol --timeout 400s >/dev/null || fail "rollout of TLS"
settled() { [ "$(k get pods -l app.kubernetes.io/component=server -o name | wc -l)" = 2 ]; }
until_true 180 settled || fail "not two pods"
refused() { ! node run "$client" models --server "$address:8500" --retries 1; }
until_true 180 refused || fail "plaintext was answered with TLS on"
node run "$client" models --server "$address:8500" --tls-ca "$work/tls.crt"

step "a new certificate in the Secret is served without a restart"
before="$(server_pods -o name | sort) $(restarts)"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=renewed \
  -addext "subjectAltName=DNS:demo-synthvol.$namespace.svc,IP:$address" -keyout "$work/new.key" -out "$work/new.crt" 2>/dev/null
since=$SECONDS
k create secret generic cert --from-file=tls.crt="$work/new.crt" --from-file=tls.key="$work/new.key" --from-file=ca.crt="$work/new.crt" --dry-run=client -o yaml >"$work/cert.yaml"
k replace -f "$work/cert.yaml" >/dev/null
# Both pods: by their own addresses, which the certificate does not name, so openssl asks.
serves_new() {
  local ip
  for ip in $(server_pods -o 'jsonpath={.items[*].status.podIP}'); do
    node run openssl s_client -connect "$ip:8500" -alpn h2 </dev/null 2>/dev/null | grep -q 'CN *= *renewed' || return 1
  done
}
until_true 240 serves_new || fail "the old certificate is still served"
node run "$client" models --server "$address:8500" --tls-ca "$work/new.crt" >/dev/null
[ "$(server_pods -o name | sort) $(restarts)" = "$before" ] || fail "pods were restarted for the new certificate"
echo "both pods serve the new certificate $((SECONDS - since)) s after the Secret changed"

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
start prometheus prometheus --config.file="$work/prometheus.yaml" --storage.tsdb.path="$work/tsdb" --web.listen-address=127.0.0.1:19090 --log.level=warn
start adapter "$K8S_BIN/prometheus-adapter" --prometheus-url=http://127.0.0.1:19090 --config="$work/adapter.yaml" --metrics-relist-interval=10s \
  --secure-port=16444 --bind-address=127.0.0.1 --cert-dir="$work" --lister-kubeconfig="$KUBECONFIG" --authentication-kubeconfig="$KUBECONFIG" \
  --authorization-kubeconfig="$KUBECONFIG"
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
ready_pods() { k get deployment demo-synthvol -o 'jsonpath={.status.readyReplicas}'; }
one_pod() { [ "$(ready_pods)" = 1 ]; }
until_true 120 one_pod || fail "not one pod"
echo "idle: the HPA reads a backlog of $(value) s per pod for 1 s wanted, and keeps $(hpa .status.desiredReplicas) pod"

step "the HPA adds pods under load, callers get what they asked for, and the pods go again"
# Two hundred callers, each with a request at any time: seconds of work that wait, which one pod never gets done with.
since=$SECONDS
node run "$client" bench --server "$address:8500" --model demo --concurrency 200 --duration 150 --json >"$work/bench.json" 2>"$work/bench.log" & callers=$!
more_pods() { [ "$(ready_pods)" -ge 2 ]; }
until_true 240 more_pods || { hpa .status; fail "no pod was added; the backlog is $(value)"; }
echo "$(ready_pods) pods ready $((SECONDS - since)) s after the load began; the HPA reads $(value) s per pod"
wait "$callers" || { tail -n 3 "$work/bench.log"; fail "the callers failed"; }
k get events --field-selector reason=SuccessfulRescale -o 'jsonpath={range .items[*]}{.message}{"\n"}{end}'
tr -d ' \n' <"$work/bench.json" | grep -oE '"errors":[{][^}]*[}]|"succeeded":[0-9]+|"volumes_per_second":[0-9.]+'
tr -d ' \n' <"$work/bench.json" | grep -q '"errors":{}' || fail "requests failed while pods were added"
until_true 500 at_most 1 || { hpa .status; fail "the pods stay after the load"; }
echo "back to one pod $((SECONDS - since)) s after the load began"
k delete apiservice v1beta1.custom.metrics.k8s.io >/dev/null

step "uninstall"
h uninstall demo --wait >/dev/null
# The pods drain first.
k wait --for=delete pod -l app.kubernetes.io/instance=demo --timeout=300s >/dev/null
[ -z "$(k get pods -l app.kubernetes.io/instance=demo -o name)" ] || fail "pods are left"
echo "real-node proof passed"
