"""Collects a minimal root file system around binaries, and lists what is in it.

Copies the binaries, every shared library that the loader resolves for them, the licences and dpkg status entries of the
owning Debian packages, certificates and a passwd file into ROOT/0; with --layers N, libraries above 50 MB are dealt out
to ROOT/1 .. ROOT/N-1, so that no image layer grows beyond 2 GB; what --own-layer names, and the large libraries that only it
needs, go to ROOT/N, so that images which differ only in those share the others. Writes usr/share/sbom/NAME.spdx.json (SPDX 2.3). All
times are set to SOURCE_DATE_EPOCH: the same build gives the same files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

OWN = Path("usr/lib/synthvol")
LARGE_BYTES = 50 << 20
LAYER_LIMIT_BYTES = 1900 << 20
# Data that a library reads at run time and that no loader shows.
DATA: dict[str, list[str]] = {
    "libdcmtk17": ["/usr/share/libdcmtk17"],
    # Character sets of patient names: what iconv() loads for the single-byte sets of DICOM.
    "libc6": ["/usr/lib/x86_64-linux-gnu/gconv/ISO8859-*.so", "/usr/lib/x86_64-linux-gnu/gconv/gconv-modules*"],
}


def run(*command: str) -> str:
    """Runs a command and returns its output; a failure ends the build with its message."""
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"collect_runtime: {' '.join(command)}: {result.stderr.strip()}")
    return result.stdout


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file in lower-case hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


class Collector:
    """Builds the root file system; `packages` and `foreign` remember where each file came from."""

    def __init__(self, root: Path, deps: Path) -> None:
        self.layers = [root / "0"]
        self.root = root / "0"
        self.deps = deps
        self.search = sorted({str(path.parent) for path in deps.glob("libtorch/**/lib/*.so*")})
        self.packages: dict[str, list[str]] = {}
        self.foreign: dict[str, Path] = {}
        self.seen: set[str] = set()
        for link, target in (("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("sbin", "usr/sbin")):
            (self.root / target).mkdir(parents=True, exist_ok=True)
            (self.root / link).symlink_to(target)
        (self.root / OWN).mkdir(parents=True)

    def find(self, pattern: str) -> list[Path]:
        """Resolves a path or a glob of a library name among the unpacked wheels."""
        if Path(pattern).exists():
            return [Path(pattern)]
        found = sorted(path for folder in self.search for path in Path(folder).glob(pattern))
        if not found:
            sys.exit(f"collect_runtime: --library {pattern}: no such file, and none of that name in {self.deps}")
        return found

    def add_binary(self, path: Path) -> None:
        """Copies a program and what it loads."""
        self.place(path, Path("usr/bin") / path.name)
        self.add_closure(path)

    def add_library(self, path: Path) -> None:
        """Copies a library that is opened at run time, and what it loads."""
        self.place(path, OWN / path.name)
        self.foreign[str(OWN / path.name)] = path.resolve()
        self.add_closure(path)

    def add_closure(self, path: Path) -> None:
        """Copies every library that the loader resolves for a file."""
        environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(self.search)}
        output = subprocess.run(["ldd", str(path)], check=True, capture_output=True, text=True, env=environment).stdout
        for line in output.splitlines():
            match = re.match(r"\s*(\S+) => (.+) \(0x", line) or re.match(r"\s*(/\S+)() \(0x", line)
            if "not found" in line and "libcuda.so" not in line:  # The driver comes from the node.
                sys.exit(f"collect_runtime: {path}: {line.strip()}")
            if match:
                self.add_dependency(match[1], Path(match[2] or match[1]))

    def add_dependency(self, name: str, path: Path) -> None:
        """Copies one library under the name that it is asked for."""
        if name in self.seen:
            return
        self.seen.add(name)
        real = path.resolve()
        if real.is_relative_to(self.deps) or "build/release" in str(real):
            self.place(real, OWN / Path(name).name)
            self.foreign[str(OWN / Path(name).name)] = real
            return
        target = Path(str(path.parent.resolve() / Path(name).name).lstrip("/"))
        self.place(real, target)
        self.own(real)

    def own(self, path: Path) -> None:
        """Notes the Debian package that a file belongs to."""
        for candidate in (str(path), str(path).removeprefix("/usr")):
            result = subprocess.run(["dpkg", "-S", candidate], check=False, capture_output=True, text=True)
            if result.returncode == 0:
                self.packages.setdefault(result.stdout.split(":")[0], []).append(str(path).lstrip("/"))
                return
        sys.exit(f"collect_runtime: {path} belongs to no Debian package")

    def place(self, source: Path, target: Path) -> None:
        """Copies a file without symbols and without the build machine's library paths."""
        destination = self.root / target
        if destination.exists():
            return
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)
        destination.chmod(0o755)
        with destination.open("rb") as file:
            if file.read(4) != b"\x7fELF":
                destination.chmod(0o644)
                return
        # Debian's and NVIDIA's are stripped already; left as they are, their hashes are those that their makers publish.
        untouched = ("/usr/lib/x86_64", "/lib/x86_64", "/lib64", "/usr/lib64", str(self.deps / "libtorch/nvidia"))
        if not str(source).startswith(untouched):
            run("strip", "--strip-unneeded", str(destination))
            own_path = "$ORIGIN/../lib/synthvol" if target.parts[1] == "bin" else "$ORIGIN"
            run("patchelf", "--set-rpath", own_path, str(destination))

    def add_debian_facts(self) -> None:
        """Copies licences, run-time data and the dpkg status entries that scanners read."""
        for package in sorted(self.packages):
            for pattern in DATA.get(package, []):
                for path in sorted(Path("/").glob(pattern.lstrip("/"))):
                    copy = shutil.copytree if path.is_dir() else shutil.copyfile
                    (self.root / str(path.parent).lstrip("/")).mkdir(parents=True, exist_ok=True)
                    copy(path, self.root / str(path).lstrip("/"))
            licence = Path("usr/share/doc") / package / "copyright"
            if (Path("/") / licence).exists():
                (self.root / licence).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile((Path("/") / licence).resolve(), self.root / licence)
            status = self.root / "var/lib/dpkg/status.d" / package
            status.parent.mkdir(parents=True, exist_ok=True)
            status.write_text(run("dpkg", "-s", package), encoding="utf-8")

    def add_system_files(self) -> None:
        """Writes the files that a C library expects to find."""
        etc = self.root / "etc"
        (etc / "ssl/certs").mkdir(parents=True)
        shutil.copyfile("/etc/ssl/certs/ca-certificates.crt", etc / "ssl/certs/ca-certificates.crt")
        (etc / "passwd").write_text("root:x:0:0:root:/:/sbin/nologin\nsynthvol:x:65532:65532:synthvol:/tmp:/sbin/nologin\n")
        (etc / "group").write_text("root:x:0:\nsynthvol:x:65532:\n")
        (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
        shutil.copyfile("/etc/debian_version", etc / "debian_version")
        shutil.copyfile("/usr/lib/os-release", self.root / "usr/lib/os-release")
        (etc / "os-release").symlink_to("../usr/lib/os-release")
        (etc / "ld.so.conf").write_text(f"/usr/lib/x86_64-linux-gnu\n/{OWN}\n")
        (self.root / "tmp").mkdir(mode=0o1777)
        (self.root / "tmp").chmod(0o1777)
        (self.root / "models").mkdir()
        run("ldconfig", "-r", str(self.root))
        shutil.rmtree(self.root / "var/cache/ldconfig", ignore_errors=True)

    def own_libraries(self) -> set[Path]:
        """Returns the libraries that no Debian package owns, as they stand in the first layer."""
        return set((self.root / OWN).iterdir())

    def deal_layers(self, count: int, common: set[Path]) -> None:
        """Moves the large ones of `common` into layers 1 to count - 1, large others into layer `count`; none beyond the limit."""
        sizes = [0] * (count + 1)
        large = sorted((path for path in self.own_libraries() if path.stat().st_size > LARGE_BYTES),
                       key=lambda path: (-path.stat().st_size, path.name))
        for path in large if count > 1 else []:
            layer = min(range(1, count), key=lambda index: sizes[index]) if path in common else count
            sizes[layer] += path.stat().st_size
            target = self.root.parent / str(layer) / OWN
            target.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target / path.name)
        if max(sizes) > LAYER_LIMIT_BYTES:
            sys.exit(f"collect_runtime: a layer of {max(sizes) >> 20} MiB; raise --layers")


def wheel_versions(lists: list[Path]) -> list[tuple[str, str, str]]:
    """Returns name, version and SHA-256 of every wheel in the pinned lists."""
    pattern = re.compile(r"^(\S+)==(\S+) \\\n\s+--hash=sha256:([0-9a-f]{64})", re.MULTILINE)
    return sorted({match for path in lists for match in pattern.findall(path.read_text(encoding="utf-8"))})


def sbom(collector: Collector, name: str, lock: dict[str, str], wheels: list[tuple[str, str, str]], epoch: int) -> None:
    """Writes the SPDX 2.3 document: our binaries' package, Debian packages, wheels, and every file with its SHA-256."""
    packages: list[dict[str, object]] = []
    relations = [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-image"}]

    def add(identifier: str, package: str, version: str, purl: str, hash_: str | None) -> None:
        entry: dict[str, object] = {
            "SPDXID": identifier, "name": package, "versionInfo": version, "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False, "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION",
            "copyrightText": "NOASSERTION",
        }
        if purl:
            entry["externalRefs"] = [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}]
        if hash_:
            entry["checksums"] = [{"algorithm": "SHA256", "checksumValue": hash_}]
        packages.append(entry)
        if identifier != "SPDXRef-image":
            relations.append({"spdxElementId": "SPDXRef-image", "relationshipType": "CONTAINS", "relatedSpdxElement": identifier})

    build = run("sed", "-n", 's/.*Build() { return "\\(.*\\)".*/\\1/p', "build/release/base/version.cc").strip()
    add("SPDXRef-image", f"synthvol-{name}", build, "", None)
    for package in sorted(collector.packages):
        version = run("dpkg-query", "-W", "-f=${Version}", package)
        add(f"SPDXRef-deb-{package}".replace("+", "p"), package, version,
            f"pkg:deb/debian/{package}@{version}?arch=amd64&distro=debian-12".replace("+", "%2B"), lock.get(package))
    in_use = " ".join(str(path) for path in collector.foreign.values())
    for package, version, hash_ in wheels:
        folder = package.replace("-", "_") + f"-{version}.dist-info/RECORD"
        record = collector.deps / "libtorch" / folder
        listed = record.read_text(encoding="utf-8") if record.exists() else ""
        used = any(Path(path).name in listed for path in in_use.split()) or (package == "torch" and "/torch/lib/" in in_use)
        if used:
            add(f"SPDXRef-pypi-{package}", package, version, f"pkg:pypi/{package}@{version}", hash_)
    files = []
    for layer in sorted(collector.root.parent.iterdir()):
        for path in sorted(path for path in layer.rglob("*") if path.is_file() and not path.is_symlink()):
            identifier = "SPDXRef-file-" + hashlib.sha256(str(path.relative_to(layer)).encode()).hexdigest()[:16]
            files.append({"SPDXID": identifier, "fileName": "./" + str(path.relative_to(layer)),
                          "checksums": [{"algorithm": "SHA256", "checksumValue": sha256(path)},
                                        {"algorithm": "SHA1", "checksumValue": hashlib.sha1(path.read_bytes()).hexdigest()}],
                          "licenseConcluded": "NOASSERTION", "licenseInfoInFiles": ["NOASSERTION"], "copyrightText": "NOASSERTION"})
            relations.append({"spdxElementId": "SPDXRef-image", "relationshipType": "CONTAINS", "relatedSpdxElement": identifier})
    content = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    document = {
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": f"synthvol-{name}",
        "documentNamespace": f"urn:synthvol:sbom:{name}:{content}",
        "creationInfo": {"created": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                         "creators": ["Tool: synthvol-collect-runtime"]},
        "packages": packages, "files": files, "relationships": relations,
    }
    target = collector.root / "usr/share/sbom" / f"{name}.spdx.json"
    target.parent.mkdir(parents=True)
    target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--binary", type=Path, action="append", required=True)
    parser.add_argument("--library", action="append", default=[], help="opened at run time: a path, or a glob of wheel libraries")
    parser.add_argument("--own-layer", action="append", default=[], help="as --library, in a layer of its own")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--wheels", type=Path, action="append", default=[])
    options = parser.parse_args()
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    here = Path(__file__).resolve().parent
    requirements = here.parents[1] / "scripts/requirements"

    collector = Collector(options.root, Path(os.environ["SYNTHVOL_DEPS_DIR"]).resolve())
    for path in options.binary:
        collector.add_binary(path)
    for pattern in options.library:
        for path in collector.find(pattern):
            collector.add_library(path)
    common = collector.own_libraries()
    for pattern in options.own_layer:
        for path in collector.find(pattern):
            collector.add_library(path)
    collector.add_debian_facts()
    collector.add_system_files()
    collector.deal_layers(options.layers, common)
    lock = {fields[1]: fields[0] for line in (here / "packages.lock").read_text().splitlines() if (fields := line.split())[0] != "#"}
    wheels = wheel_versions([requirements / "libtorch.txt", requirements / "cuda-compiler.txt", *options.wheels])
    sbom(collector, options.name, lock, wheels, epoch)
    for path in sorted(options.root.rglob("*"), reverse=True):
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    for layer in sorted(options.root.iterdir()):
        size = sum(path.stat().st_size for path in layer.rglob("*") if path.is_file() and not path.is_symlink())
        print(f"{options.name} layer {layer.name}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
