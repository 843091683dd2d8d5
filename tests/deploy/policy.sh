#!/usr/bin/env bash
# Shows on a real node what only a cluster with the parts for it can show: the NetworkPolicy in force (kube-router's policy
# controller, traffic from inside the pods' own networks), and models fetched from an S3-compatible store (versitygw) by the
# init container, through the policy.
#
# Without a registry, rclone's image is built here: the same version's sources with the backends s3 and local.
set -euo pipefail
# shellcheck source=tests/deploy/real-node.bash
. "$(dirname "$0")/real-node.bash"
needs kube-router versitygw rclone
for tool in ipset curl; do command -v "$tool" >/dev/null || { echo "skipped: no $tool (apt-get install $tool)"; exit 77; }; done

step "node up, with kube-router's policy controller"
mkdir -p "$work/build"
cp "$K8S_BIN/rclone" "$work/build/"
printf 'FROM scratch\nCOPY rclone /usr/local/bin/rclone\nENV PATH=/usr/local/bin\nENTRYPOINT ["rclone"]\n' | image_from docker.io/rclone/rclone:1.68.2 rclone
node_up rclone
# Pods on one bridge pass the rules too.
node run sysctl -qw net.bridge.bridge-nf-call-iptables=1
start kube-router "$K8S_BIN/kube-router" --run-firewall=true --run-router=false --run-service-proxy=false --kubeconfig="$KUBECONFIG" \
  --hostname-override=real-0 --service-cluster-ip-range=10.96.0.0/16 --iptables-sync-period=10s

# Pods that wait, in whose networks the callers run.
caller_pod() {
  kubectl_run=(node run kubectl --namespace "$1" run "$2" --image=localhost/pause:1 --image-pull-policy=Never --restart=Never --overrides
    '{"spec": {"automountServiceAccountToken": false, "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
      "containers": [{"name": "'"$2"'", "image": "localhost/pause:1", "imagePullPolicy": "Never",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}}')
  until_true 60 node run kubectl --namespace "$1" get serviceaccount default || fail "no service account in $1"
  "${kubectl_run[@]}" >/dev/null
}
for other in radiology elsewhere monitoring; do node run kubectl create namespace "$other" >/dev/null; done
caller_pod "$namespace" neighbour
for other in radiology elsewhere monitoring; do caller_pod "$other" caller; done
for pod in "$namespace/neighbour" radiology/caller elsewhere/caller monitoring/caller; do
  node run kubectl --namespace "${pod%/*}" wait --for=condition=Ready "pod/${pod#*/}" --timeout=120s >/dev/null
done
# as NAMESPACE/POD COMMAND...: the command in the network of that pod.
as() {
  local id pid pod=$1
  shift
  id=$(node run kubectl --namespace "${pod%/*}" get pod "${pod#*/}" -o 'jsonpath={.status.containerStatuses[0].containerID}')
  pid=$(ctr --address "$K8S_RUN/containerd.sock" --namespace k8s.io tasks ls | awk -v id="${id#containerd://}" '$1 == id {print $2}')
  nsenter --target "$pid" --net timeout 15 "$@"
}
not() { ! "$@"; }
# allowed / denied WHAT NAMESPACE/POD COMMAND...: within a minute of a change, and still so when asked again.
allowed() { local what=$1; shift; { until_true 60 as "$@" && as "$@" >/dev/null 2>&1; } || fail "$what: $1 is not let through"; echo "allowed: $what: $1"; }
denied() { local what=$1; shift; { until_true 60 not as "$@" && not as "$@" >/dev/null 2>&1; } || fail "$what: $1 is let through"; echo "denied:  $what: $1"; }

step "install: the kubelet's probes pass, whatever the policy says"
h install demo helm/synthvol "${values[@]}" --set replicaCount=1 --wait --timeout 400s >"$work/install" 2>&1 || { cat "$work/install"; fail "helm install"; }
address=$(k get service demo-synthvol -o 'jsonpath={.spec.clusterIP}')
server=$(server_pods -o 'jsonpath={.items[0].metadata.name}')
pod_ip=$(k get pod "$server" -o 'jsonpath={.status.podIP}')
call=("$client" models --server "$address:8500" --retries 0)
direct=("$client" models --server "$pod_ip:8500" --retries 0)
scrape=(curl -fsS --max-time 5 "http://$pod_ip:9464/metrics")
health=("$binaries/synthvol-server" --probe "$pod_ip:8501")

step "the default: callers in the release's namespace, metrics for the namespace \"monitoring\""
allowed "gRPC by the Service" "$namespace/neighbour" "${call[@]}"
allowed "gRPC by the pod's address" "$namespace/neighbour" "${direct[@]}"
denied "gRPC by the Service" elsewhere/caller "${call[@]}"
denied "gRPC by the pod's address" elsewhere/caller "${direct[@]}"
denied "gRPC" monitoring/caller "${direct[@]}"
allowed "metrics" monitoring/caller "${scrape[@]}"
denied "metrics" "$namespace/neighbour" "${scrape[@]}"
denied "health port" "$namespace/neighbour" "${health[@]}"
h test demo --timeout 400s >/dev/null || { k logs demo-synthvol-test; fail "helm test"; }

step "chosen callers and destinations"
pacs=$(node run kubectl --namespace radiology get pod caller -o 'jsonpath={.status.podIP}')
# Two ports in the PACS' pod, of which one may be delivered to.
cat >"$work/listen.py" <<'P'
import selectors
import socket

ports = selectors.DefaultSelector()
for port in (4242, 4243):
    ports.register(socket.create_server(("", port)), selectors.EVENT_READ)
while True:
    for key, _ in ports.select():
        key.fileobj.accept()[0].close()
P
id=$(node run kubectl --namespace radiology get pod caller -o 'jsonpath={.status.containerStatuses[0].containerID}')
nsenter --target "$(ctr --address "$K8S_RUN/containerd.sock" --namespace k8s.io tasks ls | awk -v id="${id#containerd://}" '$1 == id {print $2}')" --net \
  python3 "$work/listen.py" & started+=($!)
connect() { bash -c "exec 3<>/dev/tcp/$pacs/$1"; }
export -f connect
export pacs
denied "delivery without a destination" "$namespace/$server" bash -c 'connect 4242'
cat >"$work/policy.yaml" <<'Y'
networkPolicy:
  callers:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: radiology}}
  destinations:
    - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: radiology}}}]
      ports: [{port: 4242, protocol: TCP}]
Y
h upgrade demo helm/synthvol "${values[@]}" --set replicaCount=1 --values "$work/policy.yaml" --wait --timeout 400s >/dev/null || fail "helm upgrade"
allowed "gRPC by the Service" radiology/caller "${call[@]}"
denied "gRPC by the Service" "$namespace/neighbour" "${call[@]}"
denied "gRPC by the Service" elsewhere/caller "${call[@]}"
allowed "delivery to the PACS' port" "$namespace/$server" bash -c 'connect 4242'
denied "delivery to another port" "$namespace/$server" bash -c 'connect 4243'
h test demo --timeout 400s >/dev/null || { k logs demo-synthvol-test; fail "helm test: the chart's own caller is shut out"; }
echo "allowed: helm test, though its namespace is not among the callers"
h uninstall demo --wait >/dev/null
k wait --for=delete pod -l app.kubernetes.io/instance=demo --timeout=300s >/dev/null

step "models from an S3-compatible store"
mkdir "$work/store"
start store env ROOT_ACCESS_KEY=reader ROOT_SECRET_KEY=not-a-secret-here "$K8S_BIN/versitygw" --port 10.88.0.1:7070 posix "$work/store"
"$binaries/synthvol-random-model" --size 64 --channels 8 --output "$work/repository/chest/3" >/dev/null
rclone_env=(env RCLONE_CONFIG=/dev/null RCLONE_S3_PROVIDER=Other RCLONE_S3_ENDPOINT=http://10.88.0.1:7070 RCLONE_S3_ACCESS_KEY_ID=reader RCLONE_S3_SECRET_ACCESS_KEY=not-a-secret-here)
until_true 60 node run "${rclone_env[@]}" "$K8S_BIN/rclone" copy "$work/repository" :s3:models/synthvol || { cat "$work/store.log"; fail "upload to the store"; }
k create secret generic s3-reader --from-literal=access-key-id=reader --from-literal=secret-access-key=not-a-secret-here >/dev/null
s3=(--set replicaCount=1 --set models.source=s3 --set models.s3.path=models/synthvol --set models.s3.endpoint=http://10.88.0.1:7070
  --set models.s3.existingSecret=s3-reader --set test.model=chest)
h install fetched helm/synthvol "${values[@]}" "${s3[@]}" --set-json \
  'networkPolicy.destinations=[{"to": [{"ipBlock": {"cidr": "10.88.0.1/32"}}], "ports": [{"port": 7070, "protocol": "TCP"}]}]' --wait --timeout 400s >"$work/install" 2>&1 ||
  { cat "$work/install"; k logs -l app.kubernetes.io/component=server -c fetch-models; fail "helm install with models from S3"; }
k logs -l app.kubernetes.io/instance=fetched,app.kubernetes.io/component=server -c fetch-models --tail=3
h test fetched --timeout 400s >/dev/null || { k logs fetched-synthvol-test; fail "helm test"; }
node run "$client" models --server "$(k get service fetched-synthvol -o 'jsonpath={.spec.clusterIP}'):8500"
stored=$(find "$work/store/models/synthvol/chest/3" -type f | wc -l)
[ "$stored" -ge 2 ] || fail "the store does not hold the model"
echo "the model came from the store ($stored objects)"
h uninstall fetched --wait >/dev/null
echo "policy and store proof passed"
