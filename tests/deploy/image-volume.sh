#!/usr/bin/env bash
# Serves models out of an image volume (models.source=image) on a real node: Debian's containerd is too old for these, so
# this node runs containerd 2.1, with the feature gate that Kubernetes before 1.35 wants.
set -euo pipefail
# shellcheck source=tests/deploy/real-node.bash
. "$(dirname "$0")/real-node.bash"
needs containerd2 containerd2-shim

mkdir "$work/bin"
ln -s "$K8S_BIN"/* "$work/bin/"
# kubectl does not look into a folder behind a link.
rm "$work/bin/crds"
cp -r "$K8S_BIN/crds" "$work/bin/"
ln -s "$K8S_BIN/containerd2" "$work/bin/containerd"
ln -s "$K8S_BIN/containerd2-shim" "$work/bin/containerd-shim-runc-v2"
for program in kube-apiserver kubelet; do
  rm "$work/bin/$program"
  printf '#!/bin/sh\nexec %s "$@" --feature-gates=ImageVolume=true\n' "$K8S_BIN/$program" >"$work/bin/$program"
  chmod +x "$work/bin/$program"
done
export K8S_BIN=$work/bin PATH=$work/bin:$PATH

step "node up: $(containerd --version)"
mkdir -p "$work/build/models"
"$binaries/synthvol-random-model" --size 64 --channels 8 --output "$work/build/models/chest/2" >/dev/null
chmod -R a+rX "$work/build/models"
rm -f "$K8S_ROOT/images/models.tar"
printf 'FROM scratch\nCOPY models/ /\n' | image_from docker.io/example/models:2 models
node_up models

step "the repository is the image's root"
h install volume helm/synthvol "${values[@]}" --set replicaCount=1 --set models.source=image --set models.image.reference=docker.io/example/models:2 --set test.model=chest \
  --wait --timeout 400s >"$work/install" 2>&1 || { cat "$work/install"; k describe pods -l app.kubernetes.io/component=server | tail -n 20; fail "helm install with models from an image volume"; }
k get pods -l app.kubernetes.io/component=server -o 'jsonpath={range .items[*].spec.volumes[?(@.image)]}{.image.reference}{"\n"}{end}'
h test volume --timeout 400s >/dev/null || { k logs volume-synthvol-test; fail "helm test"; }
address=$(k get service volume-synthvol -o 'jsonpath={.spec.clusterIP}')
node run "$client" models --server "$address:8500"
h uninstall volume --wait >/dev/null
echo "image-volume proof passed"
