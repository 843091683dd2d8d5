"""Servers for the tests of the command line and the Python package: the misbehaving one, and the real one.

Binaries are found through SYNTHVOL_BIN_DIR and SYNTHVOL_BUILD_DIR, which ctest sets.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("SYNTHVOL_BUILD_DIR", ROOT / "build/release"))
BIN = Path(os.environ.get("SYNTHVOL_BIN_DIR", BUILD / "bin"))
PYTHON_PACKAGE = ROOT / "client/python"

sys.path[:0] = [str(PYTHON_PACKAGE), str(PYTHON_PACKAGE / "src")]
# DataLoader workers are other processes.
os.environ["PYTHONPATH"] = os.pathsep.join([str(PYTHON_PACKAGE / "src"), os.environ.get("PYTHONPATH", "")])
# Nothing of the machine's user may reach the tests.
for _name in [name for name in os.environ if name.startswith("SYNTHVOL_") and not name.endswith("_DIR")]:
    if _name not in ("SYNTHVOL_PYTHON",):
        del os.environ[_name]


def pytest_configure() -> None:
    import hatch_build

    hatch_build.generate()


@dataclass
class Server:
    """A running server process."""

    process: subprocess.Popen[bytes]
    address: str

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")


StartServer = Callable[..., Server]


@pytest.fixture
def fake_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Starts misbehaving servers: fake_server("--fault", "break:1000")."""
    program = BUILD / "tests/synthvol-fake-server"
    started: list[Server] = []

    def start(*arguments: str) -> Server:
        port_file = tmp_path_factory.mktemp("fake") / "port"
        process = subprocess.Popen([program, "--port-file", port_file, *arguments])
        deadline = time.monotonic() + 60
        while not port_file.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        server = Server(process, port_file.read_text().strip())
        started.append(server)
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="session")
def model_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a random model "demo" of 64 voxels a side."""
    repository = tmp_path_factory.mktemp("repository")
    (repository / "demo").mkdir()
    program = BIN / "synthvol-random-model"
    if not program.exists():
        pytest.skip("synthvol-random-model is not built")
    subprocess.run(
        [program, "--size", "64", "--channels", "8", "--latent-dim", "16", "--output", repository / "demo/1"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return repository


@pytest.fixture(scope="session")
def conditional_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a random model "graded" of two classes, and one, "demo", without."""
    repository = tmp_path_factory.mktemp("conditional")
    for name, classes in (("graded", 2), ("demo", 0)):
        command = [BIN / "synthvol-random-model", "--size", "64", "--channels", "8", "--latent-dim", "16"]
        command += ["--num-classes", str(classes), "--output", repository / name / "1"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return repository


@dataclass(frozen=True)
class Certificates:
    """PEM files: an authority, what it signed for a server on loopback and for a client, and a stranger's pair."""

    ca: Path
    server: tuple[Path, Path]
    client: tuple[Path, Path]
    stranger: tuple[Path, Path]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str | Path) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    def self_signed(name: str) -> tuple[Path, Path]:
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                "-keyout", key, "-out", certificate)  # fmt: skip
        return certificate, key

    ca, ca_key = self_signed("authority")

    def signed(name: str) -> tuple[Path, Path]:
        certificate, key, request = folder / f"{name}.pem", folder / f"{name}.key", folder / f"{name}.csr"
        extensions = folder / f"{name}.extensions"
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        openssl("x509", "-req", "-days", "2", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial",
                "-extfile", extensions, "-out", certificate)  # fmt: skip
        return certificate, key

    return Certificates(ca, signed("server"), signed("client"), self_signed("stranger"))


def start_real_server(repository: Path, log: Path, *arguments: str, port: int = 0) -> Server:
    """Starts the real server and waits until it serves."""
    port = port or free_port()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                BIN / "synthvol-server",
                "--model-repository",
                repository,
                "--listen",
                f"127.0.0.1:{port}",
                "--metrics",
                "off",
                *arguments,
            ],
            stdout=output,
            stderr=output,
        )
    wait_for_port(port, process)
    return Server(process, f"127.0.0.1:{port}")


def wait_until_serving(address: str, *flags: str) -> None:
    """Waits until `synthvol models` finds a ready model."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done = subprocess.run(
            [BIN / "synthvol", "models", "--server", address, "--retries", "0", *flags], capture_output=True, text=True
        )
        if done.returncode == 0 and " ready " in done.stdout:
            return
        time.sleep(0.1)
    raise TimeoutError(f"{address} has no ready model: {done.stdout}{done.stderr}")


@pytest.fixture(scope="session")
def real_server(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server with the model "demo"."""
    server = start_real_server(model_repository, tmp_path_factory.mktemp("server") / "log")
    wait_until_serving(server.address)
    yield server
    server.kill()
