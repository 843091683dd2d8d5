"""The main job on the real binaries: prepare, train, export, serve, request, receive; then the judges.

Runs with pytest. The slow part (a tiny training run and a server) happens once for the module.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy
import pydicom
import pytest
import SimpleITK

BIN = Path(os.environ["SYNTHVOL_BIN_DIR"])
DEPS = Path(os.environ["SYNTHVOL_DEPS_DIR"])
SIZE = 64


def run(program: str, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / program), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    if check and result.returncode != 0:
        raise AssertionError(f"{' '.join(command)}\nexit {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    repository: Path
    log: Path
    port: int
    metrics_port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [BIN / "synthvol-server", "--model-repository", self.repository, "--listen", self.address,
                 "--metrics", f"127.0.0.1:{self.metrics_port}"], stdout=log, stderr=log)
        for _ in range(600):
            if run("synthvol-server", "--probe", self.address, check=False).returncode == 0:
                return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(f"no healthy server after a minute: {self.log.read_text()}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("main-job")


@pytest.fixture(scope="module")
def server(work: Path) -> Iterator[Server]:
    run("synthvol-prepare", "--phantom", 6, "--output", work / "data", "--size", SIZE)
    run("synthvol-train", "--data", work / "data", "--output", work / "run", "--arch", "crf-gan", "--size", SIZE,
        "--channels", 8, "--latent-dim", 32, "--batch-size", 2, "--iterations", 4)
    run("synthvol-export", "--checkpoint", work / "run/checkpoints/4", "--repository", work / "models",
        "--name", "thorax")
    served = Server(work / "models", work / "server.log", free_port(), free_port())
    served.start()
    yield served
    if served.process is not None:
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=60) == 0, "SIGTERM must drain and exit 0"


def generate(server: Server, form: str, output: Path, seed: int = 7, count: int = 1) -> Path:
    run("synthvol", "generate", "--server", server.address, "--model", "thorax", "--seed", seed, "--count", count,
        "--format", form, "--output", output)
    return output


@pytest.fixture(scope="module")
def series(server: Server, work: Path) -> list[Path]:
    return sorted(generate(server, "dicom", work / "dicom").rglob("*.dcm"))


@pytest.fixture(scope="module")
def voxels(server: Server, work: Path) -> numpy.ndarray:
    """The int16 HU of seed 7, [z, y, x]."""
    array = numpy.load(next(generate(server, "npy", work / "npy").rglob("*.npy")))
    return array.reshape(SIZE, SIZE, SIZE)


def read_series(files: list[Path]) -> SimpleITK.Image:
    reader = SimpleITK.ImageSeriesReader()
    identifiers = reader.GetGDCMSeriesIDs(str(files[0].parent))
    assert len(identifiers) == 1, "viewers must group the slices as one volume"
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(files[0].parent), identifiers[0]))
    return reader.Execute()


def test_checkpoint_opens_in_python(work: Path, server: Server) -> None:
    from safetensors.numpy import load_file

    folder = work / "models/thorax/1"
    tensors = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    assert config["size"] == SIZE
    assert tensors["tp_conv7.weight"].shape == (1, 8, 3, 3, 3)


def test_series_equals_npy_and_nifti(series: list[Path], voxels: numpy.ndarray, server: Server, work: Path) -> None:
    assert len(series) == SIZE
    image = read_series(series)
    assert numpy.array_equal(SimpleITK.GetArrayFromImage(image), voxels)
    nifti = nibabel.load(next(generate(server, "nifti", work / "nifti").rglob("*.nii*")))
    assert numpy.array_equal(numpy.asarray(nifti.dataobj).transpose(2, 1, 0), voxels)
    judged = SimpleITK.ReadImage(str(next((work / "nifti").rglob("*.nii*"))))
    for what in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert numpy.allclose(getattr(image, what)(), getattr(judged, what)(), atol=1e-4), what
    assert voxels.min() >= -1024 and voxels.max() <= 600 and voxels.std() > 1


def test_dciodvfy_finds_no_error(series: list[Path]) -> None:
    for file in series:
        verdict = subprocess.run(["dciodvfy", file], capture_output=True, text=True)
        # dicom3tools of 2022 does not know Synthetic Data (0008,001C), which the standard has had since 2023.
        errors = [line for line in (verdict.stdout + verdict.stderr).splitlines()
                  if line.startswith("Error") and "not a recognized standard attribute - (0x0008,0x001c)" not in line]
        assert not errors, f"{file}: {errors}"


def test_pydicom_and_highdicom_read_it(series: list[Path], voxels: numpy.ndarray) -> None:
    import highdicom

    datasets = [pydicom.dcmread(file) for file in series]
    assert {dataset.get_item((0x0008, 0x001C)).value for dataset in datasets} <= {"YES", b"YES "}
    assert len({dataset.SOPInstanceUID for dataset in datasets}) == SIZE
    assert len({dataset.SeriesInstanceUID for dataset in datasets}) == 1
    volume = highdicom.get_volume_from_series(datasets)
    assert volume.array.shape == voxels.shape
    assert sorted(numpy.unique(volume.array)) == sorted(numpy.unique(voxels))


def test_same_seed_same_bytes(series: list[Path], server: Server, work: Path) -> None:
    again = sorted(generate(server, "dicom", work / "dicom-again").rglob("*.dcm"))
    assert [file.read_bytes() for file in series] == [file.read_bytes() for file in again]


def test_orthanc_stores_one_study_one_series(series: list[Path], work: Path) -> None:
    dicom_port, http_port = free_port(), free_port()
    configuration = work / "orthanc.json"
    configuration.write_text(json.dumps({
        "Name": "test", "StorageDirectory": str(work / "orthanc"), "IndexDirectory": str(work / "orthanc"),
        "HttpPort": http_port, "HttpBindAddresses": ["127.0.0.1"], "DicomPort": dicom_port, "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomAlwaysAllowStore": True}))
    orthanc = subprocess.Popen(["Orthanc", configuration], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        base = f"http://127.0.0.1:{http_port}"
        wait_for(f"{base}/system")
        subprocess.run(["storescu", "-aec", "ORTHANC", "127.0.0.1", str(dicom_port), *series], check=True)
        statistics = json.loads(urllib.request.urlopen(f"{base}/statistics").read())
        counts = {key: statistics[key] for key in ("CountStudies", "CountSeries", "CountInstances")}
        assert counts == {"CountStudies": 1, "CountSeries": 1, "CountInstances": SIZE}
    finally:
        orthanc.terminate()
        orthanc.wait()


def wait_for(url: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=2).read()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} did not answer in a minute")


def grpcurl(server: Server, *arguments: str) -> str:
    # Options stand before the address, the method and its verbs behind it.
    options, rest = ([*arguments[:2]], arguments[2:]) if arguments[0] == "-d" else ([], arguments)
    command = [DEPS / "bin/grpcurl", "-plaintext", "-max-msg-sz", str(8 << 20), *options, server.address, *rest]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_grpcurl_lists_describes_and_calls(server: Server) -> None:
    assert "synthvol.v1.SynthesisService" in grpcurl(server, "list")
    assert "rpc Synthesize" in grpcurl(server, "describe", "synthvol.v1.SynthesisService")
    assert '"thorax"' in grpcurl(server, "synthvol.v1.SynthesisService/ListModels")
    stream = grpcurl(server, "-d", json.dumps({"model": {"name": "thorax"}, "seed": 1, "count": 1,
                                               "format": "VOLUME_FORMAT_INT16"}),
                     "synthvol.v1.SynthesisService/Synthesize")
    assert stream.count('"header"') == 1 and stream.count('"trailer"') == 1
    assert "SERVING" in grpcurl(server, "grpc.health.v1.Health/Check")


def test_metrics_are_clean(server: Server) -> None:
    text = urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics").read()
    judged = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    assert judged.returncode == 0, judged.stderr.decode() + judged.stdout.decode()
    assert re.search(rb"^synthvol_\w+", text, re.MULTILINE)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.npy")}


def test_killed_server_and_restart_give_the_same_bytes(server: Server, work: Path) -> None:
    count = 60
    whole = digests(generate(server, "npy", work / "whole", seed=100, count=count))
    assert len(whole) == count
    client = subprocess.Popen(
        [BIN / "synthvol", "generate", "--server", server.address, "--model", "thorax", "--seed", "100", "--count",
         str(count), "--format", "npy", "--output", work / "broken"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    for _ in range(600):  # Until the stream is in its middle: some volumes are there, others are not.
        if len(list((work / "broken").rglob("*.npy"))) >= 2 or client.poll() is not None:
            break
        time.sleep(0.01)
    assert client.poll() is None, "the client finished before the server could be killed"
    server.kill()
    assert len(list((work / "broken").rglob("*.npy"))) < count
    server.start()
    _, errors = client.communicate(timeout=120)
    assert client.returncode == 0, errors.decode()
    assert digests(work / "broken") == whole


PHANTOMS = ("synthvol-prepare", "--phantom", 8, "--size", SIZE)


def data_of(folder: Path) -> dict[str, str]:
    """Digest by name of every file below."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def prepared(work: Path) -> Path:
    run(*PHANTOMS, "--output", work / "prepared")
    return work / "prepared"


def test_prepare_on_a_full_disk_loses_nothing(work: Path, prepared: Path) -> None:
    disk = work / "disk"
    disk.mkdir()
    # Room for three volumes of eight.
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={3 * 2 * SIZE**3 + (200 << 10)}", "tmpfs", disk], check=True)
    try:
        full = run(*PHANTOMS, "--output", disk / "data", check=False)
        assert full.returncode == 1
        assert "No space left on device" in full.stderr.strip().splitlines()[-1], full.stderr
        assert not (disk / "data/manifest.json").exists(), "an unfinished data set must not look complete"
        kept = {path.name: path.stat().st_mtime_ns for path in (disk / "data/volumes").glob("*.npy")}
        assert len(kept) == 3
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        run(*PHANTOMS, "--output", disk / "data")
        for name, written in kept.items():
            assert (disk / "data/volumes" / name).stat().st_mtime_ns == written, f"{name} was done again"
        assert data_of(disk / "data") == data_of(prepared)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_prepare_killed_and_run_again_gives_the_same_data(work: Path, prepared: Path) -> None:
    folder = work / "killed"
    process = subprocess.Popen([BIN / PHANTOMS[0], *map(str, PHANTOMS[1:]), "--output", folder],
                               stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(folder.glob("volumes/*.npy"))) < 2:
        time.sleep(0.002)
    process.kill()
    process.wait()
    run(*PHANTOMS, "--output", folder)
    assert data_of(folder) == data_of(prepared)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--model", "nobody", "--seed", "1", "--count", "1", "--format", "npy"], "nobody"),
    (["--model", "thorax", "--seed", "1", "--count", "0", "--format", "npy"], "count"),
    (["--model", "thorax", "--seed", "1", "--count", "4000000000", "--format", "npy"], "count"),
    (["--model", "thorax", "--seed", "4294967296", "--count", "1", "--format", "npy"], "seed"),
    (["--model", "thorax", "--seed", "4294967295", "--count", "2", "--format", "npy"], "seed"),
    (["--model", "thorax", "--seed", "1", "--count", "1", "--format", "bmp"], "format"),
    (["--model", "thorax@77", "--seed", "1", "--count", "1", "--format", "npy"], "77"),
])
def test_bad_requests_name_what_is_wrong(server: Server, work: Path, arguments: list[str], message: str) -> None:
    output = work / "refused"
    result = run("synthvol", "generate", "--server", server.address, *arguments, "--output", output, check=False)
    assert result.returncode in (1, 2)
    lines = result.stderr.strip().splitlines()
    assert message in lines[-1], result.stderr
    assert not list(output.rglob("*.npy"))
    shutil.rmtree(output, ignore_errors=True)


def test_other_content_in_the_output_folder_is_kept(server: Server, work: Path) -> None:
    output = work / "occupied"
    output.mkdir()
    (output / "thesis.txt").write_text("precious")
    result = run("synthvol", "generate", "--server", server.address, "--model", "thorax", "--seed", 1, "--count", 1,
                 "--format", "npy", "--output", output, check=False)
    assert result.returncode in (1, 2) and "occupied" in result.stderr
    assert (output / "thesis.txt").read_text() == "precious" and len(list(output.iterdir())) == 1


def test_a_busy_port_is_named(server: Server, work: Path) -> None:
    result = run("synthvol-server", "--model-repository", work / "models", "--listen", server.address,
                 "--metrics", "off", check=False)
    assert result.returncode == 1 and str(server.port) in result.stderr
