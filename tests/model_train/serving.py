"""Serves a model repository on a free port and fetches volumes, through the binaries."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from runs import BIN

PATIENCE = 800


class Server:
    """synthvol-server on a repository; a context in which `generate` works."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository

    def __enter__(self) -> Server:
        self.log = tempfile.NamedTemporaryFile(suffix=".log")
        flags = ["--listen", "127.0.0.1:0", "--metrics", "off", "--model-repository", str(self.repository)]
        self.process = subprocess.Popen([BIN / "synthvol-server", *flags], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + PATIENCE
        while (port := self.find_port()) is None:
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.05)
        self.address = f"127.0.0.1:{port}"
        while subprocess.run([BIN / "synthvol-server", "--probe", self.address], capture_output=True).returncode:
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.05)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.process.terminate()
        self.process.wait(timeout=PATIENCE)
        self.log.close()

    def text(self) -> str:
        return Path(self.log.name).read_text()

    def find_port(self) -> int | None:
        for line in self.text().splitlines():
            if '"listening"' in line and line.endswith("}"):
                return int(json.loads(line)["port"])
        return None

    def generate(self, model: str, output: Path, *flags: str) -> list[Path]:
        """Returns the files that the client wrote."""
        command = [BIN / "synthvol", "generate", "--server", self.address, "--model", model, "--output", output]
        done = subprocess.run([*command, "--quiet", *flags], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return sorted(path for path in output.rglob("*") if path.is_file())


def export(checkpoint: Path, repository: Path, name: str) -> None:
    command = [BIN / "synthvol-export", "--checkpoint", checkpoint, "--repository", repository, "--name", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
