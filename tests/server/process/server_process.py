"""Runs the real synthvol-server binary for tests: start, wait for readiness, stop, kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

import grpc
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(os.environ.get("SYNTHVOL_BIN_DIR", ROOT / "build/release/bin"))
DEPS = Path(os.environ.get("SYNTHVOL_DEPS_DIR", ROOT / ".deps"))


def compile_protos(folder: Path) -> None:
    """Generates the API's Python code into `folder` and makes it importable."""
    protos = sorted(str(p) for p in (ROOT / "proto/synthvol/v1").glob("*.proto"))
    status = protoc.main(
        ["protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
        + protos
    )
    if status != 0:
        raise RuntimeError("protoc failed")
    sys.path.insert(0, str(folder))


def write_model(repository: Path, name: str = "tiny", version: int = 1, seed: int = 1) -> None:
    """Writes a small random model into the repository."""
    (repository / name).mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [str(BIN / "synthvol-random-model"), "--size", "64", "--channels", "8", "--latent-dim", "16"]
        + ["--seed", str(seed), "--output", str(repository / name / str(version))],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def parse_line(line: str) -> dict[str, Any]:
    """Returns a log line; what is none, such as a sanitizer's report, as event "foreign".

    Reading must go on whatever comes: a full pipe stops the server.
    """
    try:
        return dict(json.loads(line))
    except ValueError:
        return {"event": "foreign", "text": line.rstrip()}


class ServerProcess:
    """A server on free ports unless told which; its log lines are parsed as JSON."""

    def __init__(self, repository: Path, *flags: str, metrics: str = "off", port: int = 0) -> None:
        self.process = subprocess.Popen(
            [str(BIN / "synthvol-server"), "--model-repository", str(repository)]
            + ["--listen", f"127.0.0.1:{port}", "--metrics", metrics, *flags],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = self.wait_for("listening")["port"]
        self.wait_for("model")

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(parse_line(line))

    def wait_for(self, event: str, seconds: float = 60.0) -> dict[str, Any]:
        """Returns the first log line of this event."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in list(self.log):
                if line["event"] == event:
                    return line
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}")
            time.sleep(0.01)
        raise TimeoutError(f"no log line '{event}'")

    @property
    def target(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    def stop(self) -> int:
        """Sends SIGTERM and returns the exit status."""
        self.process.terminate()
        status = self.process.wait(60)
        self._reader.join(10)
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Api:
    """The generated modules, and requests built with them."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        compile_protos(Path(self._folder.name))
        from synthvol.v1 import synthesis_pb2, synthesis_pb2_grpc

        self.messages: ModuleType = synthesis_pb2
        self.services: ModuleType = synthesis_pb2_grpc

    def request(self, seed: int = 1, count: int = 1, **fields: Any) -> Any:
        """Returns a request for int16 volumes of 'tiny'."""
        return self.messages.SynthesizeRequest(
            model=self.messages.ModelSelector(name="tiny"),
            seed=seed,
            count=count,
            format=self.messages.VOLUME_FORMAT_INT16,
            **fields,
        )

    def stub(self, server: ServerProcess) -> Any:
        """Returns a client of the server."""
        return self.services.SynthesisServiceStub(grpc.insecure_channel(server.target))
