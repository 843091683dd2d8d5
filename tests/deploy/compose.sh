#!/usr/bin/env bash
# Runs deploy/compose/compose.yaml, unchanged, on a real Docker engine in a network namespace of its own: volumes arrive in
# Orthanc, Prometheus' graphs move, the server's HEALTHCHECK is green, `down` leaves nothing.
#
# server and client are the images that tests/deploy/images.sh built. Without a registry, Debian's packages of Prometheus and
# Orthanc stand in for those projects' images, under their names; Grafana is in no package source and is left out.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/deploy/waiting.bash
. tests/deploy/waiting.bash
root=${K8S_ROOT:-$HOME/.cache/synthvol-k8s}
compose=$root/bin/docker-compose
[ -x "$compose" ] || { echo "skipped: no $compose; scripts/test-kubernetes tools builds it"; exit 77; }
for tool in dockerd containerd runc iptables buildah; do
  command -v "$tool" >/dev/null || { echo "skipped: no $tool (apt-get install docker.io containerd runc iptables buildah)"; exit 77; }
done
for image in server-cpu client; do
  [ -f "$root/images/$image.tar" ] || { echo "skipped: no $root/images/$image.tar; run scripts/test-kubernetes images"; exit 77; }
done
work=$(mktemp -d)
file=deploy/compose/compose.yaml
started=()
ns() { nsenter --target "$namespace" --net "$@"; }
b() { buildah --root "$root/images/store/root" --runroot "$root/images/store/run" --storage-driver overlay "$@"; }
c() { ns env DOCKER_HOST="unix://$work/docker.sock" "$compose" --file "$file" "$@"; }
d() { ns docker --host "unix://$work/docker.sock" "$@"; }
fail() { printf 'FAIL %s\n' "$*" >&2; c ps --all >&2 || true; c logs --tail 15 >&2 || true; tail -n 5 "$work"/*.log >&2; exit 1; }
cleanup() {
  local pid
  c down --volumes --timeout 30 >/dev/null 2>&1 || true
  # The engine before its containerd, the namespace last.
  for ((i = ${#started[@]} - 1; i >= 0; i--)); do
    pid=${started[i]}
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  awk -v r="$work/" 'index($2, r) == 1 {print $2}' /proc/self/mounts | sort -r | while read -r m; do umount "$m" || true; done
  rm -rf "$work"
}
trap cleanup EXIT

# The stand-ins, once.
stand_in() {
  local name=$1
  b images -q "$name" >/dev/null 2>&1 || { mkdir -p "$work/build"; cat >"$work/build/Dockerfile"; b bud --quiet --isolation chroot --pull-never --tag "$name" "$work/build" >/dev/null; }
  [ -f "$root/images/$2.tar" ] || b push --quiet "$name" "docker-archive:$root/images/$2.tar:$name"
}
stand_in docker.io/prom/prometheus:v2.55.1 stand-in-prometheus <<'D'
FROM docker.io/library/debian:bookworm-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus >/dev/null
ENTRYPOINT ["/usr/bin/prometheus"]
D
stand_in docker.io/orthancteam/orthanc:24.12.0 stand-in-orthanc <<'D'
FROM docker.io/library/debian:bookworm-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends orthanc orthanc-dicomweb >/dev/null && \
  rm -f /etc/orthanc/*.json && echo '{"Plugins": ["/usr/share/orthanc/plugins"]}' >/etc/orthanc/plugins.json
ENTRYPOINT ["/usr/sbin/Orthanc", "/etc/orthanc"]
D

# An engine of our own (started without a shell in between, so that its number is the one to end): its files under $work, its network in a namespace of its own.
unshare --net sleep infinity & namespace=$!
started+=("$namespace")
# Until unshare has run, its process is still in our own namespace.
entered() { [ "$(readlink "/proc/$namespace/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }
until_true 20 entered || fail "no network namespace"
ns ip link set lo up
cat >"$work/containerd.toml" <<C
version = 2
root = "$work/containerd"
state = "$work/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$work/containerd.sock"
C
nsenter --target "$namespace" --net containerd --config "$work/containerd.toml" >"$work/containerd.log" 2>&1 & started+=($!)
until_true 60 ctr --address "$work/containerd.sock" version || fail "containerd does not start"
nsenter --target "$namespace" --net dockerd --host "unix://$work/docker.sock" --containerd "$work/containerd.sock" --data-root "$work/docker" --exec-root "$work/exec" \
  --pidfile "$work/docker.pid" --oom-score-adjust 0 >"$work/dockerd.log" 2>&1 & started+=($!)
until_true 120 d version || fail "dockerd does not start"
d version --format 'engine {{.Server.Version}}, client {{.Client.Version}}'
"$compose" version
for image in server-cpu client stand-in-prometheus stand-in-orthanc; do d load --quiet --input "$root/images/$image.tar" >/dev/null; done

c config --quiet
c up --detach --no-build --wait --wait-timeout 300 server prometheus orthanc >"$work/up.log" 2>&1 || fail "docker compose up"
echo "server: $(d inspect --format '{{.State.Health.Status}}, user {{.Config.User}}, read-only root {{.HostConfig.ReadonlyRootfs}}' synthvol-server-1)"
c up --detach --no-build pusher >>"$work/up.log" 2>&1 || fail "docker compose up pusher"
studies() { ns curl -fsS --user demo:demo http://127.0.0.1:8042/statistics | sed -n 's/.*"CountSeries" : \([0-9]*\).*/\1/p'; }
arrived() { [ "$(studies)" -ge 5 ]; }
until_true 300 arrived || fail "no five series in Orthanc"
query() { ns curl -fsS http://127.0.0.1:9090/api/v1/query --data-urlencode "query=$1" | sed -n 's/.*"value":\[[^,]*,"\([^"]*\)"\].*/\1/p'; }
moving() { awk -v v="$(query 'sum(rate(synthvol_volume_seconds_count[1m]))')" 'BEGIN {exit !(v > 0)}'; }
until_true 180 moving || fail "Prometheus sees no volumes"
echo "Orthanc has $(studies) series; Prometheus: up $(query 'sum(up)'), $(query 'sum(rate(synthvol_volume_seconds_count[1m]))') volumes a second"
[ "$(ns curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1:8042/dicom-web/studies)" = 401 ] || fail "Orthanc answers without a password"
ns curl -fsS --user demo:demo -H 'Accept: application/dicom+json' 'http://127.0.0.1:8042/dicom-web/studies?limit=1' | grep -q '"0020000D"' || fail "no study by DICOMweb"
c down --volumes --timeout 60 >/dev/null 2>&1 || fail "docker compose down"
[ -z "$(d ps --all --quiet)$(d volume ls --quiet)" ] || fail "containers or volumes are left"
echo "compose proof passed"
