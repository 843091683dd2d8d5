"""The installed CMake package, as a project elsewhere uses it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from conftest import BIN, BUILD, ROOT, StartServer


def test_a_project_built_against_the_installed_package(fake_server: StartServer, tmp_path: Path) -> None:
    prefix, build = tmp_path / "prefix", tmp_path / "build"
    subprocess.run(
        ["cmake", "--install", BUILD, "--prefix", prefix, "--component", "client"], check=True, capture_output=True
    )
    headers = {str(path.relative_to(prefix / "include/synthvol_client")) for path in prefix.rglob("*.h")}
    assert {"client/client.h", "client/options.h", "client/volume_sink.h", "synthvol/v1/synthesis.pb.h"} <= headers
    for path in (prefix / "include").rglob("*.h"):
        text = path.read_text()
        assert "torch/" not in text and "dcmtk/" not in text, path
    configure = ["cmake", "-S", ROOT / "tests/client/consumer", "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", "-GNinja"]
    for command in (configure, ["cmake", "--build", build]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    address = fake_server().address
    lines = subprocess.run([build / "consumer", address, "fake", "8", "3"], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in lines.stdout.splitlines()] == ["8", "9", "10"]
    command = [BIN / "synthvol", "generate", "--server", address, "--model", "fake", "--seed", "8", "--count", "3"]
    subprocess.run([*command, "--format", "npy", "--output", tmp_path / "volumes", "--quiet"], check=True)
    journal = (tmp_path / "volumes/volumes.jsonl").read_text()
    assert all(line.split()[1] in journal for line in lines.stdout.splitlines())
