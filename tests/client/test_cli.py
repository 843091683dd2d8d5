"""`synthvol` as its users run it: what it writes, what it says, and what is left when it is interrupted."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from conftest import BIN, Server, StartServer, free_port, start_real_server, wait_for_port, wait_until_serving

SYNTHVOL = BIN / "synthvol"


def run(*arguments: str | Path, **keywords: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SYNTHVOL, *arguments], capture_output=True, text=True, timeout=120, **keywords)  # type: ignore


def generate(server: str, output: Path, *arguments: str | Path, **keywords: object) -> subprocess.CompletedProcess[str]:
    return run("generate", "--server", server, "--model", "fake", "--output", output, *arguments, **keywords)


def contents(folder: Path) -> dict[str, bytes]:
    """Volumes by path; journals and manifests are checked apart."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".json", ".jsonl")
    }


def journal(folder: Path) -> dict[int, dict[str, object]]:
    lines = [json.loads(line) for path in folder.glob("volumes*.jsonl") for line in path.read_text().splitlines()]
    assert len({line["seed"] for line in lines}) == len(lines), "a seed was recorded twice"
    return {line["seed"]: line for line in lines}


def test_every_format_against_the_real_server(real_server: Server, tmp_path: Path) -> None:
    import nibabel
    import pydicom
    import SimpleITK

    def ask(format: str, *arguments: str) -> Path:
        output = tmp_path / "-".join([format, *arguments])
        done = run(
            "generate",
            "--server",
            real_server.address,
            "--model",
            "demo",
            "--seed",
            "7",
            "--count",
            "2",
            "--format",
            format,
            "--output",
            output,
            *arguments,
        )
        assert done.returncode == 0, done.stderr
        return output

    arrays = [np.load(ask("npy") / f"demo-seed-00000{seed}.npy") for seed in (7, 8)]
    assert arrays[0].shape == (64, 64, 64) and arrays[0].dtype == np.int16
    assert not np.array_equal(*arrays)
    nifti_path = ask("nifti") / "demo-seed-000007.nii.gz"
    assert np.array_equal(np.asanyarray(nibabel.load(nifti_path).dataobj).T, arrays[0])
    nifti = SimpleITK.ReadImage(str(nifti_path))
    meta_image = SimpleITK.ReadImage(str(ask("raw") / "demo-seed-000007.mhd"))
    assert np.array_equal(SimpleITK.GetArrayFromImage(meta_image), arrays[0])
    dicom = ask("dicom")
    reader = SimpleITK.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(dicom / "demo-seed-000007"))
    assert len(names) == 64
    reader.SetFileNames(names)
    series = reader.Execute()
    assert np.array_equal(SimpleITK.GetArrayFromImage(series), arrays[0])
    for other in (nifti, meta_image):
        assert np.allclose(series.GetOrigin(), other.GetOrigin(), atol=1e-4)
        assert np.allclose(series.GetSpacing(), other.GetSpacing(), atol=1e-5)
        assert np.allclose(series.GetDirection(), other.GetDirection(), atol=1e-6)
    studies = {pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID for path in dicom.rglob("*.dcm")}
    assert len(studies) == 1, "the volumes of a request are one study"
    enhanced = ask("dicom", "--dicom-storage=enhanced")
    files = list((enhanced / "demo-seed-000007").iterdir())
    assert len(files) == 1 and pydicom.dcmread(files[0]).NumberOfFrames == 64
    floats = np.load(ask("npy", "--dtype=float32") / "demo-seed-000007.npy")
    assert floats.dtype == np.float32 and np.abs(floats).max() <= 1
    pictures = ask("png", "--gif")
    assert (pictures / "demo-seed-000007.png").read_bytes().startswith(b"\x89PNG")
    from PIL import Image

    with Image.open(pictures / "demo-seed-000007.gif") as gif:
        assert gif.n_frames == 64 and gif.size == (64, 64)


def test_models_and_status_of_the_real_server(real_server: Server) -> None:
    models = json.loads(run("models", "--json", "--server", real_server.address).stdout)
    assert [model["name"] for model in models] == ["demo"] and models[0]["size"] == 64
    status = run("status", "--json", "--server", real_server.address)
    assert status.returncode == 0 and json.loads(status.stdout)["health"] == "SERVING"


def test_kill_9_of_the_server_and_a_restart_give_the_same_bytes(
    model_repository: Path, real_server: Server, tmp_path: Path
) -> None:
    arguments = ["--model", "demo", "--seed", "100", "--count", "40", "--format", "npy"]
    assert (
        run("generate", "--server", real_server.address, *arguments, "--output", tmp_path / "straight").returncode == 0
    )
    server = start_real_server(model_repository, tmp_path / "log")
    wait_until_serving(server.address)
    client = subprocess.Popen(
        [
            SYNTHVOL,
            "generate",
            "--server",
            server.address,
            *arguments,
            "--output",
            tmp_path / "broken",
            "--retries",
            "100",
        ],
        stderr=subprocess.PIPE,
    )
    while not list((tmp_path / "broken").glob("*.npy")):
        assert client.poll() is None
        time.sleep(0.01)
    server.kill()
    again = start_real_server(model_repository, tmp_path / "log", port=int(server.address.rpartition(":")[2]))
    try:
        _, stderr = client.communicate(timeout=120)
    finally:
        again.kill()
    assert client.returncode == 0, stderr
    assert contents(tmp_path / "broken") == contents(tmp_path / "straight")


def test_two_servers_of_which_one_is_killed(model_repository: Path, real_server: Server, tmp_path: Path) -> None:
    arguments = ["--model", "demo", "--seed", "100", "--count", "24", "--format", "raw", "--parallel", "2"]
    assert (
        run("generate", "--server", real_server.address, *arguments, "--output", tmp_path / "straight").returncode == 0
    )
    doomed = start_real_server(model_repository, tmp_path / "log")
    wait_until_serving(doomed.address)
    client = subprocess.Popen(
        [
            SYNTHVOL,
            "generate",
            "--server",
            f"{doomed.address},{real_server.address}",
            *arguments,
            "--output",
            tmp_path / "broken",
        ],
        stderr=subprocess.PIPE,
    )
    while not list((tmp_path / "broken").glob("*.raw")):
        assert client.poll() is None
        time.sleep(0.01)
    doomed.kill()
    _, stderr = client.communicate(timeout=120)
    assert client.returncode == 0, stderr
    assert contents(tmp_path / "broken") == contents(tmp_path / "straight")


@pytest.mark.parametrize("format", ["npy", "dicom"])
def test_interruption_at_random_points_over_many_volumes(fake_server: StartServer, tmp_path: Path, format: str) -> None:
    """Killed again and again, by SIGKILL and SIGTERM, through a server that keeps breaking."""
    arguments = ["--seed", "5", "--count", "200", "--format", format]
    assert generate(fake_server().address, tmp_path / "straight", *arguments).returncode == 0
    server = fake_server("--break-probability", "0.01", "--delay-ms", "1")
    choose = random.Random(3)
    kills = 0

    def finished() -> int:
        pattern = "*.npy" if format == "npy" else "*-seed-*"
        return len(list((tmp_path / "broken").glob(pattern)))

    while True:
        command = [
            SYNTHVOL,
            "generate",
            "--server",
            server.address,
            "--model",
            "fake",
            "--output",
            tmp_path / "broken",
            "--parallel",
            str(choose.choice([1, 3])),
            *arguments,
        ]
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        # By progress, not by the clock: the eight kills lie within the 200 volumes on a machine of any speed.
        goal = finished() + choose.randint(0, 20) if kills < 8 else 1000
        deadline = time.monotonic() + 120
        while process.poll() is None and finished() < goal and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(choose.uniform(0, 0.02) if kills < 8 else 0)
        if process.poll() is not None:
            break
        process.send_signal(choose.choice([signal.SIGKILL, signal.SIGTERM]))
        process.communicate()
        kills += 1
        for path in (tmp_path / "broken").glob("*.npy"):
            np.load(path, allow_pickle=False)  # nothing half under its final name
    assert process.returncode == 0, process.communicate()
    assert kills >= 4
    assert contents(tmp_path / "broken") == contents(tmp_path / "straight")
    broken, straight = journal(tmp_path / "broken"), journal(tmp_path / "straight")
    assert {seed: line["sha256"] for seed, line in broken.items()} == {
        seed: line["sha256"] for seed, line in straight.items()
    }
    assert not (tmp_path / "broken/.synthvol").exists()


def test_the_digest_can_be_crc32c_alone(fake_server: StartServer, tmp_path: Path) -> None:
    for digest in ("sha256", "crc32c"):
        folder = tmp_path / digest
        assert generate(fake_server().address, folder, "--format", "npy", "--digest", digest).returncode == 0
        assert all(("sha256" in line) == (digest == "sha256") for line in journal(folder).values())
    assert contents(tmp_path / "crc32c") == contents(tmp_path / "sha256")


def test_a_damaged_slice_on_disk_is_not_believed(fake_server: StartServer, tmp_path: Path) -> None:
    assert generate(fake_server().address, tmp_path / "straight", "--format", "npy").returncode == 0
    hanging = fake_server("--fault", "hang:5000")
    process = subprocess.Popen(
        [
            SYNTHVOL,
            "generate",
            "--server",
            hanging.address,
            "--model",
            "fake",
            "--format",
            "npy",
            "--output",
            tmp_path / "broken",
        ],
        stderr=subprocess.DEVNULL,
    )
    data = tmp_path / "broken/.synthvol/fake-seed-000000.data"
    while not data.exists() or data.stat().st_size < 3000:
        time.sleep(0.01)
    process.kill()
    process.wait()
    with data.open("r+b") as file:
        file.seek(600)
        file.write(b"\0\0\0\0")
    assert generate(hanging.address, tmp_path / "broken", "--format", "npy").returncode == 0
    assert contents(tmp_path / "broken") == contents(tmp_path / "straight")


def test_shards_are_disjoint_without_gap(fake_server: StartServer, tmp_path: Path) -> None:
    address = fake_server().address
    arguments = ["--seed", "11", "--count", "23", "--format", "npy"]
    assert generate(address, tmp_path / "one", *arguments).returncode == 0
    workers = [
        subprocess.Popen(
            [
                SYNTHVOL,
                "generate",
                "--server",
                address,
                "--model",
                "fake",
                "--quiet",
                "--output",
                tmp_path / "many",
                *arguments,
                "--shard",
                f"{index}/7",
            ]
        )
        for index in range(7)
    ]
    assert [worker.wait() for worker in workers] == [0] * 7
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    assert sorted(journal(tmp_path / "many")) == list(range(11, 34))
    again = generate(address, tmp_path / "many", *arguments, "--shard", "3/7", "--json")
    assert json.loads(again.stdout)["volumes"] == 0, "a finished shard has nothing to do"


def test_a_full_disk_is_reported_and_loses_nothing(fake_server: StartServer, tmp_path: Path) -> None:
    address = fake_server("--size", "32").address
    arguments = ["--count", "2", "--format", "raw"]
    limited = generate(
        address,
        tmp_path / "volumes",
        *arguments,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)),
    )
    assert limited.returncode == 1
    assert "File too large" in limited.stderr and str(tmp_path) in limited.stderr
    assert not list((tmp_path / "volumes").glob("*.raw"))
    assert generate(address, tmp_path / "volumes", *arguments).returncode == 0
    assert generate(address, tmp_path / "straight", *arguments).returncode == 0
    assert contents(tmp_path / "volumes") == contents(tmp_path / "straight")


def test_tls_and_token(fake_server: StartServer, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            key,
            "-out",
            certificate,
        ],
        check=True,
        capture_output=True,
    )
    port = fake_server("--tls-cert", str(certificate), "--tls-key", str(key), "--token", "secret").address
    address = "localhost:" + port.rpartition(":")[2]
    token = tmp_path / "token"
    token.write_text("secret\n")
    flags = ["--server", address, "--retries", "0"]
    assert run("models", *flags, "--tls-ca", certificate, "--token-file", token).returncode == 0
    assert (
        run("models", *flags, "--tls-ca", certificate, env={**os.environ, "SYNTHVOL_TOKEN": "secret"}).returncode == 0
    )
    without = run("models", *flags, "--tls-ca", certificate)
    assert without.returncode == 1 and "UNAUTHENTICATED: no valid bearer token" in without.stderr
    assert run("models", *flags, "--token-file", token).returncode == 1, "plain text to a TLS port"
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {
                "default": "lab",
                "profiles": {
                    "lab": {"server": address, "tls-ca": str(certificate), "token-file": str(token), "retries": 0}
                },
            }
        )
    )
    assert run("models", "--config", config).returncode == 0
    assert run("models", "--config", config, "--token-file", key).returncode == 2, "a flag wins over the profile"


BAD_USAGE = {
    "no command": ([], 2, "subcommand"),
    "unknown command": (["fetch"], 2, ""),
    "no model": (["generate", "--format", "npy", "--output", "OUT"], 2, "--model is required"),
    "no format": (["generate", "--model", "fake", "--output", "OUT"], 2, "--format is required"),
    "wrong format": (
        ["generate", "--model", "fake", "--format", "jpeg", "--output", "OUT"],
        2,
        "--format: jpeg not in",
    ),
    "zero count": (["generate", "--model", "fake", "--count", "0", "--format", "npy", "--output", "OUT"], 2, "--count"),
    "negative seed": (
        ["generate", "--model", "fake", "--seed", "-1", "--format", "npy", "--output", "OUT"],
        2,
        "--seed",
    ),
    "seed of 33 bits": (
        ["generate", "--model", "fake", "--seed", "4294967296", "--format", "npy", "--output", "OUT"],
        2,
        "--seed",
    ),
    "seeds past the end": (
        ["generate", "--model", "fake", "--seed", "4294967295", "--count", "2", "--format", "npy", "--output", "OUT"],
        2,
        "--count 2: seeds end at 4294967295",
    ),
    "model without name": (["generate", "--model", "@1", "--format", "npy", "--output", "OUT"], 2, "NAME@VERSION"),
    "shard": (["generate", "--model", "fake", "--shard", "3/3", "--format", "npy", "--output", "OUT"], 2, "0 <= I < N"),
    "gif of dicom": (
        ["generate", "--model", "fake", "--gif", "--format", "dicom", "--output", "OUT"],
        2,
        "not with dicom",
    ),
    "dicom attribute": (
        ["generate", "--model", "fake", "--dicom-attribute", "shoe_size=4", "--format", "dicom", "--output", "OUT"],
        2,
        "patient_name",
    ),
    "server": (["models", "--server", "nonsense"], 2, "expected HOST:PORT"),
    "half a key pair": (["models", "--tls-cert", "/a.pem"], 2, "go together"),
    "missing ca": (["models", "--tls-ca", "/no/such.pem"], 1, "/no/such.pem"),
    "missing token file": (["models", "--token-file", "/no/such"], 1, "/no/such"),
    "unknown profile": (["models", "--profile", "nope"], 2, "--profile nope"),
    "push without destination": (["push", "--model", "fake"], 2, "either --to or --destination"),
    "push to nonsense": (["push", "--model", "fake", "--to", "nonsense"], 2, "--to nonsense"),
    "unknown model": (
        ["generate", "--model", "other", "--format", "npy", "--output", "OUT"],
        1,
        "NOT_FOUND: model 'other'",
    ),
    "output is a file": (["generate", "--model", "fake", "--format", "npy", "--output", "FILE"], 1, "is a file"),
    "other content": (
        ["generate", "--model", "fake", "--format", "npy", "--output", "FULL"],
        1,
        "other content (notes.txt)",
    ),
    "another request": (
        ["generate", "--model", "fake", "--seed", "9", "--format", "npy", "--output", "BEGUN"],
        1,
        "seed 0 there, 9 here",
    ),
}


def test_bad_usage_gets_one_clear_line(fake_server: StartServer, tmp_path: Path) -> None:
    address = fake_server().address
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    assert generate(address, tmp_path / "begun", "--format", "npy").returncode == 0
    places = {
        "OUT": tmp_path / "out",
        "FILE": tmp_path / "file",
        "FULL": tmp_path / "full",
        "BEGUN": tmp_path / "begun",
    }
    environment = {**os.environ, "SYNTHVOL_SERVER": address, "XDG_CONFIG_HOME": str(tmp_path)}
    for name, (arguments, code, message) in BAD_USAGE.items():
        done = run(*[places.get(argument, argument) for argument in arguments], env=environment)
        assert done.returncode == code, f"{name}: {done.returncode} {done.stderr}"
        assert done.stdout == "", name
        assert done.stderr.startswith("synthvol: ") and done.stderr.count("\n") == 1, f"{name}: {done.stderr!r}"
        assert message in done.stderr, f"{name}: {done.stderr!r}"
    assert not (tmp_path / "out").exists(), "a failed command leaves nothing behind"
    assert (tmp_path / "full/notes.txt").read_text() == "mine"


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    done = generate("127.0.0.1:1", tmp_path / "out", "--format", "npy", "--retries", "1")
    assert done.returncode == 1
    assert done.stderr.startswith("synthvol: UNAVAILABLE: ") and "given up after 2 attempts" in done.stderr
    assert not (tmp_path / "out").exists()


def test_two_runs_at_once_in_one_folder(fake_server: StartServer, tmp_path: Path) -> None:
    address = fake_server("--fault", "hang:5000").address
    first = subprocess.Popen(
        [SYNTHVOL, "generate", "--server", address, "--model", "fake", "--format", "npy", "--output", tmp_path / "out"],
        stderr=subprocess.DEVNULL,
    )
    while not (tmp_path / "out/.synthvol/fake-seed-000000.header").exists():
        time.sleep(0.01)
    second = generate(address, tmp_path / "out", "--format", "npy")
    first.kill()
    first.wait()
    assert second.returncode == 1 and "another synthvol generate is at work in it" in second.stderr


def test_bench_counts_what_the_server_answers(fake_server: StartServer) -> None:
    address = fake_server("--fault", "break:0:8", "--fault", "break:0:14").address
    done = run("bench", "--server", address, "--model", "fake", "--requests", "20", "--concurrency", "3", "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 0
    assert result["requests"] == 20 and result["succeeded"] == 18
    assert result["errors"] == {"RESOURCE_EXHAUSTED": 1, "UNAVAILABLE": 1}
    latency = result["latency_seconds"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
    opened = json.loads(
        run(
            "bench",
            "--server",
            address,
            "--model",
            "fake",
            "--rate",
            "100",
            "--duration",
            "0.5",
            "--concurrency",
            "8",
            "--json",
        ).stdout
    )
    assert opened["loop"] == "open" and opened["requests"] == opened["succeeded"] > 10


def test_completions_and_the_man_page_name_every_flag(tmp_path: Path) -> None:
    help_text = run("generate", "--help").stdout
    flags = {word.strip(",") for word in help_text.split() if word.startswith("--") and word != "--help"}
    assert {"--model", "--shard", "--tls-ca", "--dicom-attribute"} <= flags
    bash = run("completion", "bash").stdout
    man = run("man").stdout.replace("\\-", "-")
    for text in (bash, run("completion", "zsh").stdout, man):
        assert not [flag for flag in flags if flag not in text]
    fish = run("completion", "fish").stdout
    assert not [flag for flag in flags if f"-l {flag[2:]} " not in fish]
    script = tmp_path / "completion.bash"
    script.write_text(bash)
    asked = subprocess.run(
        [
            "bash",
            "-c",
            f"source {script}; COMP_WORDS=(synthvol generate --format n); COMP_CWORD=3; _synthvol;"
            "echo ${COMPREPLY[@]}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.split() == ["nifti", "npy"]
    roff = subprocess.run(["groff", "-man", "-ww", "-z"], input=run("man").stdout, capture_output=True, text=True)
    assert roff.returncode == 0 and roff.stderr == ""


def test_a_pipe_gets_plain_lines(fake_server: StartServer, tmp_path: Path) -> None:
    done = generate(fake_server("--fault", "break:3000").address, tmp_path / "out", "--format", "npy", "--count", "2")
    assert done.returncode == 0
    assert "\x1b" not in done.stderr and "\r" not in done.stderr
    assert "planned fault; trying" in done.stderr and "100% 32/32 slices" in done.stderr
    again = generate(fake_server().address, tmp_path / "out", "--format", "npy", "--count", "2", "--quiet")
    assert again.returncode == 0 and again.stderr == ""


def test_push_stores_the_series_that_generate_fetches(real_server: Server, tmp_path: Path) -> None:
    import pydicom

    request = ["--server", real_server.address, "--model", "demo", "--seed", "5", "--count", "2"]
    assert run("generate", *request, "--format", "dicom", "--output", tmp_path / "fetched").returncode == 0
    archive, port = tmp_path / "archive", free_port()
    archive.mkdir()
    scp = subprocess.Popen(["storescp", "-od", archive, "-aet", "ARCHIVE", str(port)], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, scp)
        for _ in range(2):  # a repeated delivery overwrites
            done = run("push", *request, "--to", f"ARCHIVE@127.0.0.1:{port}", "--json", "--quiet")
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout) == {"committed": 0, "instances": 128, "retries": 0, "volumes": 2}
    finally:
        scp.kill()
        scp.wait()

    def pixels(paths: Iterable[Path]) -> dict[str, bytes]:
        datasets = [pydicom.dcmread(path) for path in paths]
        return {dataset.SOPInstanceUID: dataset.PixelData for dataset in datasets}

    stored = pixels(path for path in archive.iterdir() if path.is_file())
    assert len(stored) == 128
    assert stored == pixels((tmp_path / "fetched").rglob("*.dcm"))
    refused = run("push", *request, "--to", f"ARCHIVE@127.0.0.1:{port}", "--quiet", "--timeout", "60")
    assert refused.returncode == 1 and "--start-volume 0 goes on from here" in refused.stderr
