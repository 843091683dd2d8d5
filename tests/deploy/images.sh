#!/usr/bin/env bash
# Builds images by the Dockerfile's own steps with buildah (no Docker engine, no registry) and looks at what came out: sizes,
# layers, configuration, SBOM, and the server running as its non-root user on a read-only root while a client gets volumes.
#   SYNTHVOL_IMAGES="server-cpu client server-cuda trainer-cuda" tests/deploy/images.sh      (default: server-cpu client)
# The CUDA images download 2 GB of wheels and take 20 GB of disk while they are made.
# SYNTHVOL_REPRODUCE=1 builds server-cpu a second time, in another folder and without ccache, and compares every file.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=${K8S_ROOT:-$HOME/.cache/synthvol-k8s}
store=$root/images
deps=${SYNTHVOL_DEPS_DIR:-$PWD/.deps}
python=${SYNTHVOL_PYTHON:-$deps/venv/bin/python}
for tool in buildah mmdebstrap; do
  command -v "$tool" >/dev/null || { echo "skipped: no $tool (apt-get install $tool)"; exit 77; }
done
mkdir -p "$store"
export SOURCE_DATE_EPOCH=1763164800
version=$(sed -n 's/^appVersion: "\(.*\)"/\1/p' helm/synthvol/Chart.yaml)
commit=$(git rev-parse --short=12 HEAD)
b() { nice -n 10 buildah --root "$store/store/root" --runroot "$store/store/run" --storage-driver overlay "$@"; }
fail() { printf 'FAIL %s\n' "$*" >&2; exit 1; }
work=$(mktemp -d)
touch "$work/containers"
cleanup() {
  local id
  [ -n "${server_pid:-}" ] && kill "$server_pid" 2>/dev/null && wait "$server_pid" 2>/dev/null
  while read -r id; do b umount "$id" >/dev/null 2>&1 || true; b rm "$id" >/dev/null 2>&1 || true; done <"$work/containers"
  # The second build's layers serve nobody.
  b rmi localhost/again >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

# The stand-in for the registry's debian:bookworm-slim.
if ! b images -q docker.io/library/debian:bookworm-slim >/dev/null 2>&1; then
  [ -f "$store/rootfs.tar" ] || nice -n 19 mmdebstrap --quiet --variant=minbase bookworm "$store/rootfs.tar"
  mkdir -p "$store/base"
  ln -f "$store/rootfs.tar" "$store/base/rootfs.tar"
  printf 'FROM scratch\nADD rootfs.tar /\n' >"$store/base/Dockerfile"
  b bud --isolation chroot --tag docker.io/library/debian:bookworm-slim "$store/base"
fi
# pip of the build asks where this machine's pip asks.
mounts=(--volume /etc/ssl/certs/ca-certificates.crt:/host-ca.crt:ro --volume "$work/pip.conf:/etc/pip.conf:ro")
# What this machine has compiled already need not be compiled again.
cached=()
ccache_folder=${CCACHE_DIR:-$HOME/.cache/ccache}
if [ -d "$ccache_folder" ]; then mounts+=(--volume "$ccache_folder:/host-ccache"); cached=(--build-arg CCACHE_FOLDER=/host-ccache); fi
printf '[global]\ncert = /host-ca.crt\ntimeout = 180\n' >"$work/pip.conf"

tag_of() {
  case $1 in
    client) echo "docker.io/synthvol/client:$version" ;;
    *) echo "docker.io/synthvol/${1%-*}:$version-${1##*-}" ;;
  esac
}
# What the images of this run need of the build.
wanted=${SYNTHVOL_IMAGES:-server-cpu client}
case $wanted in
  *cuda*) programs=all ;;
  *) programs="synthvol-server synthvol-random-model synthvol" ;;
esac
# build TARGET TAG [FLAG...]
build() {
  local target=$1 tag=$2; shift 2
  # --label: buildah 1.28 takes a cached LABEL for a new one when only the argument in it has changed.
  b bud --format docker --layers --isolation chroot --pull-never "${mounts[@]}" --build-arg "SYNTHVOL_COMMIT=$commit" \
    --label "org.opencontainers.image.revision=$commit" \
    "${cached[@]}" --build-arg BUILD_JOBS=2 --build-arg "BUILD_TARGETS=$programs" --target "$target" --tag "$tag" "$@" . \
    >"$store/$target.log" 2>&1 || { tail -n 20 "$store/$target.log" >&2; fail "build of $target; the whole log is $store/$target.log"; }
}
# Mounts an image's root and prints where.
mount_image() { local id; id=$(b from --pull-never "$1"); echo "$id" >>"$work/containers"; b mount "$id"; }

# Every path with its kind, mode, time and link, then every file with its digest; but not the files that a running container gets.
list_files() {
  (cd "$1" && find . -mindepth 1 ! -path './etc/hosts' ! -path './etc/resolv.conf' ! -path './run*' ! -path './proc*' ! -path './sys*' ! -path './dev*' \
    -printf '%p %y %m %U:%G %T@ %l\n' | LC_ALL=C sort && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
}
for target in $wanted; do
  tag=$(tag_of "$target")
  build "$target" "$tag"
  tree=$(mount_image "$tag")
  b inspect --type image "$tag" >"$work/$target.json"
  "$python" tests/deploy/check_image.py --target "$target" --root "$tree" --config "$work/$target.json"
  b push --quiet "$tag" "docker-archive:$work/$target.tar:$tag" && mv "$work/$target.tar" "$store/$target.tar"
  tar -tvf "$store/$target.tar" | awk -v t="$target" '/layer|\.tar$/ && $3 > 4096 {n++; sum += $3; if ($3 > most) most = $3; line = line sprintf(" %.1f", $3 / 1e6)}
    END {printf "%s: layers of%s MB, %.1f MB in all\n", t, line, sum / 1e6; exit most >= 2e9}' || fail "$target: a layer above 2 GB"
done

# The server's own root file system, mounted read-only, as its own user, in namespaces of its own.
server=$(mount_image "$(tag_of server-cpu)")
client=$(mount_image "$(tag_of client)")
mkdir "$work/models" "$work/out"
chown 65532:65532 "$work/models" "$work/out"
cat >"$work/run" <<'R'
#!/usr/bin/env bash
# run ROOT MODELS OUT COMMAND...: inside a mount namespace, chroots into a read-only ROOT as 65532 without capabilities.
set -euo pipefail
root=$1 models=$2 out=$3
shift 3
mount --bind "$root" "$root"
mount -t tmpfs -o mode=1777,size=512m tmpfs "$root/tmp"
mkdir -p "$root/tmp/out"
mount --bind "$models" "$root/models"
mount --bind "$out" "$root/tmp/out"
# What every runtime gives a container.
mkdir -p "$root/dev" "$root/proc"
mount -t tmpfs tmpfs "$root/dev"
for device in null urandom; do touch "$root/dev/$device" && mount --bind "/dev/$device" "$root/dev/$device"; done
mount --rbind /proc "$root/proc"
mount -o remount,ro,bind "$root"
exec setpriv --no-new-privs chroot --userspec=65532:65532 --groups=65532 "$root" "$@"
R
chmod +x "$work/run"
inside() { local tree=$1; shift; unshare --mount "$work/run" "$tree" "$work/models" "$work/out" "$@"; }
inside "$server" /usr/bin/synthvol-random-model --size=64 --channels=8 --keep --output=/models/thorax/1
# Not through inside(): the process itself is wanted, not a shell around it.
unshare --mount "$work/run" "$server" "$work/models" "$work/out" \
  /usr/bin/synthvol-server --model-repository=/models --listen=127.0.0.1:0 --metrics=127.0.0.1:0 >"$work/server.log" 2>&1 &
server_pid=$!
address=
for _ in $(seq 1 240); do
  address=$(sed -n 's/.*"event":"listening","address":"\([^"]*\)".*/\1/p' "$work/server.log")
  [ -n "$address" ] && inside "$server" /usr/bin/synthvol-server --probe "$address" 2>/dev/null && break
  kill -0 "$server_pid" 2>/dev/null || { cat "$work/server.log"; fail "the server in its image ended"; }
  sleep .5
done
inside "$server" /usr/bin/synthvol-server --probe "$address" || { cat "$work/server.log"; fail "the server in its image is not healthy"; }
# What scripts/demo asks for.
ask=(/usr/bin/synthvol generate --server="$address" --model=thorax)
inside "$client" "${ask[@]}" --seed=1 --count=1 --format=dicom --output=/tmp/out/dicom
inside "$client" "${ask[@]}" --seed=1 --count=1 --format=nifti --output=/tmp/out/nifti
inside "$client" "${ask[@]}" --seed=1 --count=4 --format=png --output=/tmp/out/png
find "$work/out" -type f | sed 's/.*\.//' | sort | uniq -c
[ "$(find "$work/out" -name '*.dcm' | wc -l)" -eq 64 ] || fail "expected a series of 64 slices"
owner=$(stat -c %u "/proc/$server_pid")
[ "$owner" = 65532 ] || fail "the server runs as user $owner"
if inside "$server" /usr/bin/synthvol-random-model --size=64 --channels=8 --output=/etc/model 2>"$work/refused"; then
  fail "the root file system is writable"
fi
grep -q 'Read-only file system' "$work/refused" || fail "expected a read-only root, got: $(cat "$work/refused")"
kill "$server_pid"
wait "$server_pid"
server_pid=

# What a CUDA image can show without a GPU: its programs start as that user on that root, and name what is missing.
# refuses TREE PATTERN COMMAND...: the command fails with a message that matches.
refuses() {
  local tree=$1 pattern=$2
  shift 2
  if inside "$tree" "$@" >"$work/refused" 2>&1; then fail "without a GPU this succeeded: $*"; fi
  grep -E "$pattern" "$work/refused" || fail "expected '$pattern' of $*, got: $(tail -n 3 "$work/refused")"
}
case " $wanted " in *" server-cuda "*)
  tree=$(mount_image "$(tag_of server-cuda)")
  inside "$tree" /usr/bin/synthvol-server --version
  refuses "$tree" "device 'cuda': (no usable GPU|this machine has 0 GPUs)" /usr/bin/synthvol-server --model-repository=/models --listen=127.0.0.1:0 --metrics=off --device=cuda
esac
case " $wanted " in *" trainer-cuda "*)
  tree=$(mount_image "$(tag_of trainer-cuda)")
  for program in train prepare export eval; do inside "$tree" "/usr/bin/synthvol-$program" --help >/dev/null; done
  inside "$tree" /usr/bin/synthvol-train --version
  find "$tree" -name libsynthvol_train_cuda.so | grep -q . || fail "trainer-cuda lacks libsynthvol_train_cuda.so, which training on a GPU opens"
  inside "$tree" /usr/bin/synthvol-prepare --phantom=2 --size=64 --output=/tmp/out/prepared >/dev/null
  refuses "$tree" 'device cuda: this machine has 0 usable GPU' /usr/bin/synthvol-train --data=/tmp/out/prepared --output=/tmp/out/run --size=64 --device=cuda --iterations=1
  # The same training on the CPU.
  inside "$tree" /usr/bin/synthvol-train --data=/tmp/out/prepared --output=/tmp/out/run --size=64 --channels=8 --latent-dim=64 --batch-size=2 \
    --iterations=1 --device=cpu >/dev/null
esac
if [ "${SYNTHVOL_REPRODUCE:-0}" = 1 ]; then
  tag=$(tag_of server-cpu)
  list_files "$(mount_image "$tag")" >"$work/first.files"
  programs="synthvol-server synthvol-random-model"
  # buildah 1.28 keeps cached layers whose WORKDIR or COPY depend on an argument: everything is built again, packages included.
  build server-cpu localhost/again --no-cache --build-arg SOURCE_FOLDER=/elsewhere/second --build-arg WITHOUT_CCACHE=1
  list_files "$(mount_image localhost/again)" >"$work/second.files"
  diff "$work/first.files" "$work/second.files" || fail "server-cpu: a second build gave other files"
  echo "server-cpu: a second build in another folder, without ccache, gave the same $(grep -c '^[0-9a-f]\{64\} ' "$work/second.files") files"
fi
echo "image checks passed"
