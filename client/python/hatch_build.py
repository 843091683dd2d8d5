"""Generates synthvol/v1/*_pb2*.py from the .proto files; also a script: `python hatch_build.py`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent


def generate(root: Path = ROOT) -> list[Path]:
    """Writes the stubs into src/synthvol/v1 and returns their paths."""
    from grpc_tools import _proto, protoc

    candidates = [root / "proto", root.parent.parent / "proto"]
    protos = next((folder for folder in candidates if (folder / "synthvol/v1/synthesis.proto").exists()), None)
    if protos is None:
        raise FileNotFoundError(f"synthvol/v1/synthesis.proto: not found in {candidates[0]} or {candidates[1]}")
    output = root / "src"
    sources = [
        str(path.relative_to(protos))
        for path in sorted((protos / "synthvol/v1").glob("*.proto"))
        if path.name in ("synthesis.proto", "dicom.proto", "delivery.proto", "admin.proto")
    ]
    arguments = [
        "protoc",
        f"-I{protos}",
        f"-I{Path(_proto.__file__).parent if _proto.__file__ else next(iter(_proto.__path__))}",
        f"--python_out={output}",
        f"--pyi_out={output}",
        f"--grpc_python_out={output}",
        *sources,
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc failed; its message is above")
    package = output / "synthvol/v1"
    (package / "__init__.py").write_text('"""The API\'s messages and stubs, generated from proto/synthvol/v1."""\n')
    return sorted(package.glob("*.py*"))


class GenerateStubs(BuildHookInterface):  # type: ignore[type-arg]
    """Runs before the wheel is packed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        generate(Path(self.root))


if __name__ == "__main__":
    for path in generate():
        print(path, file=sys.stderr)
