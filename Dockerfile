# Images of synthvol: server-cpu, server-cuda, trainer-cuda, client.
#
#   docker build --target server-cpu --tag synthvol/server:0.1.0-cpu .
#   buildah --storage-driver overlay bud --format docker --isolation chroot --target server-cpu --tag synthvol/server:0.1.0-cpu .
#
# The final stages start from nothing and hold the binary, the shared libraries that it really loads, their licences and
# an SPDX list of all of it (/usr/share/sbom). No shell, no package manager. docs/operations.md has the sizes.

ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim

# --- packages: Debian 12 with the locked build packages --------------------------------------------
FROM ${BASE_IMAGE} AS packages
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ARG DEBIAN_SNAPSHOT=""
COPY deploy/image/install-packages deploy/image/packages.lock /image/
RUN /image/install-packages /image/packages.lock build "${DEBIAN_SNAPSHOT}"

# --- toolchain: LibTorch and the CUDA compiler, pinned by hash ---------------------------------------
FROM packages AS toolchain
ENV SYNTHVOL_DEPS_DIR=/work/deps
WORKDIR /work/setup
COPY scripts/setup scripts/setup
# Only these lists: a new linter of the tests must not unpack LibTorch again.
COPY scripts/requirements/apt-build.txt scripts/requirements/libtorch.txt scripts/requirements/cuda-compiler.txt \
     scripts/requirements/
RUN scripts/setup --no-build

# --- build: every binary, once for all targets ------------------------------------------------------
FROM toolchain AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ARG SYNTHVOL_COMMIT=unknown
ARG BUILD_JOBS=""
# "synthvol-server synthvol-random-model" is enough for server-cpu and much quicker.
ARG BUILD_TARGETS=all
# Where the sources stand and whether ccache may answer: neither changes a byte of what comes out, which
# tests/deploy/images.sh proves by changing both. CCACHE_FOLDER may be a developer's cache, brought in by --volume.
ARG SOURCE_FOLDER=/work/main
ARG WITHOUT_CCACHE=""
ARG CCACHE_FOLDER=/root/.cache/ccache
# A part of ccache's key: the same as on a developer's machine.
ENV LANG=C.UTF-8
WORKDIR ${SOURCE_FOLDER}
COPY . .
# The cache mount makes a second build compile only what changed. Several targets are several words.
# ccache makes paths relative to the build folder; the prefix maps say the same of a build without it, so that __FILE__ in a
# message is one and the same. Library paths would be as long as the folder's name: collect_runtime.py sets them.
# hadolint ignore=SC2086
RUN --mount=type=cache,id=synthvol-ccache,target=/root/.cache/ccache \
    export CCACHE_DIR="${CCACHE_FOLDER}" CCACHE_IGNOREOPTIONS="-ffile-prefix-map=*" && \
    if [ -n "${WITHOUT_CCACHE}" ]; then export CCACHE_DISABLE=1; fi && \
    ln -s "${SYNTHVOL_DEPS_DIR}" .deps && \
    cmake --preset release -DSYNTHVOL_DEPS_DIR="${SOURCE_FOLDER}/.deps" -DSYNTHVOL_TESTS=OFF -DSYNTHVOL_BENCHMARKS=OFF \
      -DSYNTHVOL_COMMIT="${SYNTHVOL_COMMIT}" -DCMAKE_SKIP_RPATH=ON \
      -DCMAKE_CXX_FLAGS="-ffile-prefix-map=${SOURCE_FOLDER}=../.. -ffile-prefix-map=${SOURCE_FOLDER}/build/release/=" && \
    cmake --build --preset release ${BUILD_JOBS:+-j "${BUILD_JOBS}"} --target ${BUILD_TARGETS}

# --- root file systems: one stage each, so that a target builds only its own --------------------------
FROM build AS rootfs-server-cpu
ARG SOURCE_DATE_EPOCH=1763164800
RUN python3 deploy/image/collect_runtime.py --name server-cpu --root /rootfs \
      --binary build/release/bin/synthvol-server --binary build/release/bin/synthvol-random-model

FROM build AS rootfs-client
ARG SOURCE_DATE_EPOCH=1763164800
RUN python3 deploy/image/collect_runtime.py --name client --root /rootfs --binary build/release/bin/synthvol

# What LibTorch's CUDA half loads, for both CUDA images.
FROM build AS cuda-libraries
RUN python3 -m pip download --quiet --no-deps --require-hashes --only-binary=:all: -d /wheels \
      --python-version 3.11 --implementation cp --abi cp311 --abi none --platform manylinux_2_28_x86_64 \
      --platform manylinux_2_27_x86_64 --platform manylinux_2_18_x86_64 --platform manylinux_2_17_x86_64 \
      --platform manylinux_2_12_x86_64 --platform manylinux2014_x86_64 --platform manylinux2010_x86_64 \
      -r scripts/requirements/cuda-runtime.txt && \
    for wheel in /wheels/*.whl; do \
      unzip -q -o "${wheel}" '*/lib/*.so*' '*.dist-info/*' -d "${SYNTHVOL_DEPS_DIR}/libtorch"; \
    done && \
    rm -rf /wheels

# Both deal the same large libraries into layers 1 and 2, which a node therefore pulls and keeps once.
FROM cuda-libraries AS rootfs-server-cuda
ARG SOURCE_DATE_EPOCH=1763164800
RUN python3 deploy/image/collect_runtime.py --name server-cuda --root /rootfs --layers 3 \
      --binary build/release/bin/synthvol-server --binary build/release/bin/synthvol-random-model \
      --library build/release/lib/libsynthvol_cuda.so \
      --library 'libcudnn*.so.9' --library 'libnvrtc*.so.13*' --wheels scripts/requirements/cuda-runtime.txt

FROM cuda-libraries AS rootfs-trainer-cuda
ARG SOURCE_DATE_EPOCH=1763164800
RUN python3 deploy/image/collect_runtime.py --name trainer-cuda --root /rootfs --layers 3 \
      --binary build/release/bin/synthvol-train --binary build/release/bin/synthvol-prepare \
      --binary build/release/bin/synthvol-export --binary build/release/bin/synthvol-eval \
      --library build/release/lib/libsynthvol_cuda.so --library build/release/lib/libsynthvol_train_cuda.so \
      --library libtorch_cuda.so \
      --library 'libcudnn*.so.9' --library 'libnvrtc*.so.13*' --wheels scripts/requirements/cuda-runtime.txt \
      --own-layer libtorch_cuda_linalg.so

# --- images: what all have in common, then what servers and CUDA images have ---------------------------
FROM scratch AS image
ARG SYNTHVOL_COMMIT=unknown
LABEL org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${SYNTHVOL_COMMIT}" \
      org.opencontainers.image.base.name="scratch"
USER 65532:65532

FROM image AS server
LABEL org.opencontainers.image.title="synthvol server" \
      org.opencontainers.image.description="Serves generators of synthetic CT over gRPC"
EXPOSE 8500 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
  CMD ["/usr/bin/synthvol-server", "--probe", "127.0.0.1:8500"]
ENTRYPOINT ["/usr/bin/synthvol-server"]
# Listens on loopback until told otherwise; beyond it the server asks for TLS or --allow-plaintext.
CMD ["--model-repository=/models"]

FROM image AS client
LABEL org.opencontainers.image.title="synthvol client" \
      org.opencontainers.image.description="Command line that fetches synthetic CT volumes"
COPY --from=rootfs-client /rootfs/0/ /
WORKDIR /tmp
ENTRYPOINT ["/usr/bin/synthvol"]
CMD ["--help"]

FROM image AS trainer-cuda
LABEL org.opencontainers.image.title="synthvol trainer" \
      org.opencontainers.image.description="Prepares scans, trains, exports and evaluates generators of 3D CT"
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
# Large libraries in layers of their own, each below 2 GB.
COPY --from=rootfs-trainer-cuda /rootfs/2/ /
COPY --from=rootfs-trainer-cuda /rootfs/1/ /
COPY --from=rootfs-trainer-cuda /rootfs/3/ /
COPY --from=rootfs-trainer-cuda /rootfs/0/ /
WORKDIR /tmp
ENTRYPOINT ["/usr/bin/synthvol-train"]
CMD ["--help"]

FROM server AS server-cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=rootfs-server-cuda /rootfs/2/ /
COPY --from=rootfs-server-cuda /rootfs/1/ /
COPY --from=rootfs-server-cuda /rootfs/0/ /
WORKDIR /tmp

# Last, so that a build without --target makes it.
FROM server AS server-cpu
COPY --from=rootfs-server-cpu /rootfs/0/ /
WORKDIR /tmp
