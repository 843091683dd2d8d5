#!/usr/bin/env bash
# Installs the chart into a real kube-apiserver with admission, controllers and scheduler (shared/k8s/up.sh), whose two
# nodes with one GPU each are simulated: what is accepted, scheduled, rolled, rolled back and removed.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=${K8S_ROOT:-$HOME/.cache/synthvol-k8s}
shared=${SYNTHVOL_SHARED_DIR:-$PWD/../shared}
export K8S_BIN=$root/bin K8S_RUN=$root/run
[ -x "$shared/k8s/up.sh" ] || { echo "skipped: no $shared/k8s/up.sh"; exit 77; }
for tool in kube-apiserver etcd kwok helm kubectl; do
  [ -x "$K8S_BIN/$tool" ] || { echo "skipped: no $K8S_BIN/$tool; scripts/test-kubernetes builds it"; exit 77; }
done
PATH=$K8S_BIN:$PATH
export KUBECONFIG=$K8S_RUN/kubeconfig HELM_CACHE_HOME=$K8S_RUN/helm HELM_CONFIG_HOME=$K8S_RUN/helm HELM_DATA_HOME=$K8S_RUN/helm
trap '"$shared/k8s/up.sh" down' EXIT
chart=helm/synthvol
namespace=synthvol
k() { kubectl --namespace "$namespace" "$@"; }
step() { printf '== %s\n' "$*"; }
fail() { printf 'FAIL %s\n' "$*" >&2; exit 1; }
# expect WANTED COMMAND...: the command's output is what was wanted.
expect() { local wanted=$1 got; shift; got=$("$@"); [ "$got" = "$wanted" ] || fail "wanted '$wanted', got '$got': $*"; echo "ok $* = $got"; }
eventually() { local wanted=$1 got='' end=$((SECONDS + 240)); shift; while [ "$SECONDS" -lt "$end" ]; do got=$("$@" 2>/dev/null || true); [ "$got" = "$wanted" ] && { echo "ok $* = $got"; return; }; sleep .5; done; fail "wanted '$wanted', got '$got': $*"; }

step "control plane $(kube-apiserver --version)"
"$shared/k8s/up.sh" up
kubectl apply --server-side -f "$root/crds" >/dev/null
kubectl create namespace "$namespace" >/dev/null
kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted pod-security.kubernetes.io/warn=restricted >/dev/null

eventually default k get serviceaccount default -o 'jsonpath={.metadata.name}'
# The simulated nodes say nothing of their disks.
for node in fake-0 fake-1; do
  kubectl patch node "$node" --subresource=status --type=merge --patch \
    '{"status": {"capacity": {"ephemeral-storage": "100Gi"}, "allocatable": {"ephemeral-storage": "100Gi"}}}' >/dev/null
done
step "admission refuses what the profile forbids"
if k run bad --image=x >"$K8S_RUN/refused" 2>&1; then fail "a pod that may run as root was accepted"; fi
grep -o 'violates PodSecurity "restricted:latest"' "$K8S_RUN/refused" || fail "refused for another reason: $(cat "$K8S_RUN/refused")"

step "every value file passes the API server's own validation"
for file in "$chart"/ci/*-values.yaml; do
  # Image volumes are off in this release unless a feature gate is set; tests/deploy/image-volume.sh sets it.
  [[ $file == */image-values.yaml ]] && continue
  helm install try "$chart" --namespace "$namespace" --values "$file" --dry-run=server >"$K8S_RUN/dry" 2>&1 || { cat "$K8S_RUN/dry"; fail "$file"; }
  if grep -i warning: "$K8S_RUN/dry" | grep -v 'WARNING: '; then fail "$file: the API server warned"; fi
  echo "ok $(basename "$file")"
done

# The longest drain that the schema allows, and no wait before it.
helm install try "$chart" --namespace "$namespace" --set drain.longestVolumeSeconds=3600 --set drain.preStopSeconds=0 --set autoscaling.mode=hpa --dry-run=server >"$K8S_RUN/dry" 2>&1 ||
  { cat "$K8S_RUN/dry"; fail "the longest drain"; }

step "install on GPU nodes, two pods, with monitoring"
flags=(--namespace "$namespace" --values "$chart/ci/gpu-values.yaml" --values "$chart/ci/monitoring-values.yaml" --set replicaCount=2 --set models.source=demo
  --set-json 'gpu.nodeSelector={}' --wait --timeout 400s)
helm install demo "$chart" "${flags[@]}" >"$K8S_RUN/install" 2>&1 || { cat "$K8S_RUN/install"; k get pods,events; fail "helm install"; }
grep -i 'warning: would violate' "$K8S_RUN/install" && fail "Pod Security warned"
expect 2 k get deployment demo-synthvol -o 'jsonpath={.status.readyReplicas}'
expect "fake-0 fake-1" bash -c "kubectl -n $namespace get pods -l app.kubernetes.io/component=server -o 'jsonpath={range .items[*]}{.spec.nodeName}{\"\\n\"}{end}' | sort | xargs"
eventually 2 bash -c "kubectl -n $namespace get endpointslices -l kubernetes.io/service-name=demo-synthvol-headless -o json | grep -c '\"ready\": true'"
expect "demo-synthvol demo-synthvol" k get servicemonitors,prometheusrules -o 'jsonpath={.items[*].metadata.name}'

step "a third pod waits for a GPU"
k scale deployment demo-synthvol --replicas=3 >/dev/null
eventually 1 bash -c "kubectl -n $namespace get events --field-selector reason=FailedScheduling -o 'jsonpath={range .items[*]}{.message}{\"\\n\"}{end}' | grep 'Insufficient nvidia.com/gpu' | wc -l"
k scale deployment demo-synthvol --replicas=2 >/dev/null

step "the disruption budget holds"
eventually 1 k get pdb demo-synthvol -o 'jsonpath={.status.disruptionsAllowed}'
eventually 2 k get deployment demo-synthvol -o 'jsonpath={.status.readyReplicas}'
evict() { kubectl create --raw "/api/v1/namespaces/$namespace/pods/$1/eviction" -f - <<<"{\"apiVersion\":\"policy/v1\",\"kind\":\"Eviction\",\"metadata\":{\"name\":\"$1\",\"namespace\":\"$namespace\"}}"; }
# No place for a replacement: the second eviction must wait for one.
kubectl cordon fake-0 fake-1 >/dev/null
read -r first second <<<"$(k get pods -l app.kubernetes.io/component=server -o 'jsonpath={.items[*].metadata.name}')"
evict "$first" >/dev/null
if evict "$second" >"$K8S_RUN/evict" 2>&1; then fail "both pods were evicted at once"; fi
grep -o "Cannot evict pod as it would violate the pod's disruption budget." "$K8S_RUN/evict"
kubectl uncordon fake-0 fake-1 >/dev/null

step "upgrade and rollback"
k rollout status deployment/demo-synthvol --timeout=300s >/dev/null
checksum() { k get deployment demo-synthvol -o 'jsonpath={.spec.template.metadata.annotations.checksum/config}'; }
before=$(checksum)
helm upgrade demo "$chart" "${flags[@]}" --set server.config.queue.max_requests=64 >/dev/null
[ "$(checksum)" != "$before" ] || fail "a changed configuration did not change the pods"
expect 2 k get deployment demo-synthvol -o 'jsonpath={.status.updatedReplicas}'
helm rollback demo 1 --namespace "$namespace" --wait --timeout 400s >/dev/null
expect "$before" checksum
expect 2 k get deployment demo-synthvol -o 'jsonpath={.status.readyReplicas}'

step "HPA: replicas belong to it, and its controller works on it"
helm upgrade demo "$chart" "${flags[@]}" --set autoscaling.mode=hpa --set autoscaling.minReplicas=2 --set autoscaling.maxReplicas=3 >/dev/null
eventually True k get hpa demo-synthvol -o 'jsonpath={.status.conditions[?(@.type=="AbleToScale")].status}'
# Without a metrics adapter the controller says what it misses, and does not scale on nothing.
eventually FailedGetPodsMetric k get hpa demo-synthvol -o 'jsonpath={.status.conditions[?(@.type=="ScalingActive")].reason}'
# Leaving "replicas" out made it 1 for a moment; the HPA brings it to its minimum.
eventually 2 k get deployment demo-synthvol -o 'jsonpath={.spec.replicas}'

step "bulk Job: every index once"
kubectl apply -f - >/dev/null <<Y
{apiVersion: v1, kind: PersistentVolume, metadata: {name: datasets}, spec: {capacity: {storage: 10Gi}, accessModes: [ReadWriteMany], storageClassName: "", hostPath: {path: /tmp/unused}}}
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: datasets, namespace: $namespace}, spec: {accessModes: [ReadWriteMany], storageClassName: "", volumeName: datasets, resources: {requests: {storage: 10Gi}}}}
Y
helm install bulk "$chart" --namespace "$namespace" --set replicaCount=0 --set bulk.enabled=true --set bulk.outputClaim=datasets --set bulk.shards=5 >/dev/null
job=$(k get jobs -l app.kubernetes.io/instance=bulk -o 'jsonpath={.items[0].metadata.name}')
k wait --for=condition=Complete "job/$job" --timeout=300s >/dev/null
expect 0-4 k get job "$job" -o 'jsonpath={.status.completedIndexes}'
# A Job's template cannot be changed: what changes it makes another Job, here another user; nothing else does.
bulk=(--namespace "$namespace" --set replicaCount=0 --set bulk.enabled=true --set bulk.outputClaim=datasets --set bulk.shards=5)
bulk_jobs() { k get jobs -l app.kubernetes.io/instance=bulk -o 'jsonpath={.items[*].metadata.name}'; }
helm upgrade bulk "$chart" "${bulk[@]}" --set bulk.parallelism=1 >/dev/null
expect "$job" bulk_jobs
helm upgrade bulk "$chart" "${bulk[@]}" --set securityUser=1001 >"$K8S_RUN/bulk" 2>&1 || { cat "$K8S_RUN/bulk"; fail "upgrade of a bulk release"; }
[ "$(bulk_jobs)" != "$job" ] || fail "the Job kept its name"

step "uninstall leaves nothing"
helm uninstall demo bulk --namespace "$namespace" --wait >/dev/null
kinds=$(kubectl api-resources --namespaced --verbs=list -o name | grep -v events | paste -sd,)
eventually "" bash -c "kubectl -n $namespace get $kinds -l 'app.kubernetes.io/instance in (demo,bulk)' -o name 2>/dev/null"
echo "kube-apiserver proof passed"
