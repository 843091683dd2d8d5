"""Checks an unpacked image: user, labels, health check, entry point, no shell or package manager, complete SBOM.

    check_image.py --target server-cpu --root MOUNTED --config INSPECTED.json      (of buildah inspect --type image)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path

# Programs that no image may hold, in whatever folder: shells, package managers, compilers and their parts.
FORBIDDEN = re.compile(
    r"(ba|da|bu|z)?sh|busybox|apt(-get)?|dpkg|pip3?|python3(\.\d+)?|perl|(x86_64-linux-gnu-)?(gcc|g\+\+|cc|c\+\+|cpp|as|ld|ar)(-\d+)?"
    r"|cc1(plus)?|nvcc|cudafe\+\+|cicc|ptxas|fatbinary|nvlink|cmake|ninja|make")
LIMIT_BYTES = {"server-cpu": 1000 << 20, "client": 500 << 20}


def files_of(root: Path) -> dict[str, Path]:
    """Returns every regular file by its path in the image."""
    return {str(p.relative_to(root)): p for p in sorted(root.rglob("*")) if p.is_file() and not p.is_symlink()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    options = parser.parse_args()
    config = json.loads(options.config.read_text(encoding="utf-8"))["Docker"]["config"]
    problems: list[str] = []

    def check(condition: bool, message: str) -> None:
        if not condition:
            problems.append(message)

    check(config.get("User") == "65532:65532", f"user is {config.get('User')}, not 65532:65532")
    labels = config.get("Labels") or {}
    for name in ("title", "description", "version", "revision"):
        check(bool(labels.get(f"org.opencontainers.image.{name}")), f"no label org.opencontainers.image.{name}")
    if options.target.startswith("server"):
        check("--probe" in (config.get("Healthcheck") or {}).get("Test", []), "no HEALTHCHECK by --probe")

    files = files_of(options.root)
    for name in [*files, *(str(p.relative_to(options.root)) for p in options.root.rglob("*") if p.is_symlink())]:
        check(not FORBIDDEN.fullmatch(name.rsplit("/", 1)[-1]), f"{name} is in the image")
    size = sum(path.stat().st_size for path in files.values())
    check(size < LIMIT_BYTES.get(options.target, 1 << 62), f"{size / 1e6:.0f} MB is too large")
    for name, path in files.items():
        check(not path.stat().st_mode & 0o6000, f"{name} is set-user-id")
    sbom_name = f"usr/share/sbom/{options.target}.spdx.json"
    sbom = json.loads((options.root / sbom_name).read_text(encoding="utf-8"))
    listed = {entry["fileName"][2:]: entry["checksums"][0]["checksumValue"] for entry in sbom["files"]}
    for name, path in files.items():
        if name != sbom_name and name not in ("etc/hosts", "etc/resolv.conf"):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            check(listed.get(name) == digest, f"{name} is not in the SBOM, or differs from it")
    build = next((package["versionInfo"] for package in sbom["packages"] if package["SPDXID"] == "SPDXRef-image"), "")
    revision = labels.get("org.opencontainers.image.revision", "")
    check(build.endswith(f"+{revision}"), f"the label says revision {revision}, the SBOM build {build}")
    packages = [package["name"] for package in sbom["packages"]]
    check(len(packages) > 5 and "libc6" in packages, f"the SBOM lists only {packages}")
    for problem in problems:
        print(f"FAIL {options.target}: {problem}")
    largest = sorted(files.items(), key=lambda item: -item[1].stat().st_size)[:5]
    print(f"{options.target}: {len(files)} files, {size / 1e6:.1f} MB, {len(packages)} packages in the SBOM; largest: "
          + ", ".join(f"{name} {path.stat().st_size / 1e6:.1f}" for name, path in largest))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
