"""Fails when a folder includes what it may not: DESIGN section 2's arrows, as a test.

Usage: check_includes.py ROOT [--self-test]
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
SOURCE_SUFFIXES = {".h", ".cc", ".cu", ".cuh", ".hpp", ".cpp"}
ROOMS = ("base", "imaging", "model", "server", "client")


@dataclass(frozen=True)
class Rule:
    """An include that matches `pattern` may stand only below one of `allowed`."""

    what: str
    pattern: re.Pattern[str]
    allowed: tuple[str, ...]


FOREIGN_RULES = (
    Rule("torch", re.compile(r"^(torch|ATen|c10|caffe2)/"),
         ("model", "tests/model_", "bench/training", "bench/inference")),
    Rule("DCMTK", re.compile(r"^dcmtk/"), ("imaging/dicom", "tests/imaging_dicom")),
    Rule("libcurl", re.compile(r"^curl/"), ("imaging/dicom",)),
    Rule("ITK", re.compile(r"^itk\w*\.h"), ("imaging/io", "tests/imaging")),
    Rule("gRPC or protobuf", re.compile(r"^(grpc|grpcpp|grpc\+\+|google/protobuf|google/rpc|synthvol/v1)/"),
         ("proto", "server", "client", "tests/server", "tests/client", "tests/fuzz", "tests/integration", "tests/soak",
          "bench")),
    Rule("prometheus-cpp", re.compile(r"^prometheus/"), ("server",)),
    Rule("spdlog", re.compile(r"^spdlog/"), ("server", "client")),
)

# Which of our own rooms a room may include. `server/scheduling` and `model`'s torch-free face have rules of their own.
ROOM_ARROWS = {
    "base": {"base"},
    "imaging": {"base", "imaging"},
    "model": {"base", "imaging", "model"},
    "server": {"base", "imaging", "model", "server"},
    "client": {"base", "imaging", "client"},
}
TORCH_FREE = ("model/synthesizer.h", "model/checkpoint/")
SERVER_MAY_SEE = re.compile(r"^model/(synthesizer\.h|checkpoint/|eval/gate|plausibility)")


def includes_of(path: Path) -> list[str]:
    return INCLUDE.findall(path.read_text(encoding="utf-8", errors="replace"))


def violations_of(name: str, include: str) -> list[str]:
    """Returns what is wrong with `include` standing in the file `name` (relative to the root)."""
    found = []
    for rule in FOREIGN_RULES:
        if rule.pattern.match(include) and not name.startswith(rule.allowed):
            found.append(f"{name}: includes {include}; {rule.what} is allowed only below {', '.join(rule.allowed)}")
    if name.startswith(TORCH_FREE) and FOREIGN_RULES[0].pattern.match(include):
        found.append(f"{name}: includes {include}; this face of model/ is torch-free")
    room, target = name.split("/")[0], include.split("/")[0]
    if room in ROOM_ARROWS and target in ROOMS and "/" in include and target not in ROOM_ARROWS[room]:
        found.append(f"{name}: includes {include}; {room}/ may include only {', '.join(sorted(ROOM_ARROWS[room]))}")
    if room == "server" and target == "model" and not SERVER_MAY_SEE.match(include):
        found.append(f"{name}: includes {include}; the server sees model/ through synthesizer.h and checkpoint/ only")
    if name.startswith("server/scheduling/") and target in ROOMS and not include.startswith("server/scheduling/"):
        found.append(f"{name}: includes {include}; server/scheduling depends on nothing but Abseil")
    return found


def check(root: Path) -> list[str]:
    found = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.suffix in SOURCE_SUFFIXES and not name.startswith(("build/", ".deps", ".git/")):
            for include in includes_of(path):
                found.extend(violations_of(name, include))
    return found


def self_test() -> list[str]:
    """Plants one violation of each kind and returns those that were not found."""
    planted = {
        "server/rpc/a.cc": "torch/torch.h",
        "imaging/volume.cc": "dcmtk/dcmdata/dctk.h",
        "imaging/dicom/b.cc": "itkImage.h",
        "imaging/io/c.cc": "grpcpp/grpcpp.h",
        "model/synthesizer.h": "ATen/ATen.h",
        "client/d.cc": "model/synthesizer.h",
        "imaging/e.cc": "model/synthesizer.h",
        "server/scheduling/f.cc": "base/checksum.h",
        "server/rpc/g.cc": "model/nets/generator.h",
    }
    missed = []
    for name, include in planted.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.parent.mkdir(parents=True)
            path.write_text(f'#include "{include}"\n', encoding="utf-8")
            if not check(Path(folder)):
                missed.append(f"{name} including {include} was not refused")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--self-test", action="store_true", help="also check that planted violations are found")
    arguments = parser.parse_args()
    problems = check(arguments.root)
    if arguments.self_test:
        problems += self_test()
    for problem in problems:
        print(problem)
    print(f"{len(problems)} forbidden includes")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
