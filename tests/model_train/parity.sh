#!/usr/bin/env bash
# synthvol-parity on the golden files: forward figures with the CPU's widest kernels, training iterations with those that the
# golden ones were computed by, and CRF-GAN's also on the path that trains.
set -euo pipefail
golden=${SYNTHVOL_SHARED_DIR:?}/golden
parity=${SYNTHVOL_BIN_DIR:?}/synthvol-parity
if [ ! -d "$golden" ]; then
  echo "skip: $golden is not here"
  exit 77
fi
for name in crf-gan-64 crf-gan-128 crf-gan-256 ha-gan-128 ha-gan-256; do
  "$parity" --forward-only "$golden/$name.json" | tail -n 1
done
for name in crf-gan-64 crf-gan-128; do
  "$parity" "$golden/$name.json" | tail -n 1
done
for name in crf-gan-64 crf-gan-128; do
  "$parity" --fast-training "$golden/$name.json" | tail -n 1
done
# An altered layer: the generator's first weights from another stream.
altered=$(mktemp)
trap 'rm -f "$altered"' EXIT
sed '0,/\[32768, 1024\], 0,/s//[32768, 1024], 900,/' "$golden/crf-gan-64.json" >"$altered"
if cmp -s "$altered" "$golden/crf-gan-64.json"; then
  echo "the golden file no longer has the form that this test alters"
  exit 1
fi
status=0
"$parity" --forward-only "$altered" >/dev/null || status=$?
[ "$status" -eq 1 ] || { echo "an altered layer gave status $status, expected 1"; exit 1; }
