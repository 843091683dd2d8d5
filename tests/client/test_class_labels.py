"""The class of a volume is asked for when it is served: by the command line, the Python client and the data set."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
import synthvol
from conftest import BIN, Server, start_real_server, wait_until_serving
from synthvol.torch import SynthVolIterableDataset


@pytest.fixture(scope="module")
def graded(conditional_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_real_server(conditional_repository, tmp_path_factory.mktemp("server") / "log")
    try:
        wait_until_serving(server.address)
        yield server
    finally:
        server.kill()


def generate(server: Server, output: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [BIN / "synthvol", "generate", "--server", server.address, "--seed", "5", "--output", output, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_class_changes_the_volume_and_is_written_down(graded: Server, tmp_path: Path) -> None:
    arrays = {}
    for label in ("0", "1"):
        common = ("--model", "graded", "--class-label", label, "--quiet")
        assert generate(graded, tmp_path / f"npy{label}", "--format", "npy", *common).returncode == 0
        arrays[label] = np.load(tmp_path / f"npy{label}/graded-seed-000005.npy")
        assert json.loads((tmp_path / f"npy{label}/manifest.json").read_text())["request"]["class_label"] == int(label)
        assert generate(graded, tmp_path / f"dcm{label}", "--format", "dicom", *common).returncode == 0
        dataset = pydicom.dcmread(next((tmp_path / f"dcm{label}").rglob("*.dcm")))
        assert f"class {label}" in dataset.DerivationDescription
        arrays[f"uid{label}"] = dataset.SeriesInstanceUID
    assert not np.array_equal(arrays["0"], arrays["1"]) and arrays["uid0"] != arrays["uid1"]
    with synthvol.Client(graded.address) as client:
        (volume,) = client.generate("graded", 5, class_label=1)
    assert np.array_equal(volume.array, arrays["1"]) and volume.header.class_label == 1
    other = generate(graded, tmp_path / "npy0", "--format", "npy", "--model", "graded", "--class-label", "1")
    assert other.returncode == 1 and "class_label" in other.stderr, "the folder holds another class"


@pytest.mark.parametrize(
    ("model", "label", "expected"),
    [("graded", None, "class_label"), ("graded", 2, "class_label"), ("demo", 0, "class_label")],
)
def test_a_class_that_the_model_does_not_have(
    graded: Server, tmp_path: Path, model: str, label: int | None, expected: str
) -> None:
    with synthvol.Client(graded.address) as client, pytest.raises(synthvol.SynthVolError, match=expected) as caught:
        list(client.generate(model, 5, class_label=label))
    assert caught.value.code.name == "INVALID_ARGUMENT"
    flags = [] if label is None else ["--class-label", str(label)]
    done = generate(graded, tmp_path / "out", "--format", "npy", "--model", model, *flags)
    assert done.returncode == 2 and expected in done.stderr


def test_a_data_set_with_a_class_for_each_seed(graded: Server) -> None:
    dataset = SynthVolIterableDataset(graded.address, "graded", range(10, 16), class_label=lambda seed: int(seed >= 13))
    items = list(dataset)
    assert [(item["seed"], item["class_label"]) for item in items] == [(s, int(s >= 13)) for s in range(10, 16)]
    with synthvol.Client(graded.address) as client:
        (expected,) = client.generate("graded", 14, dtype="float32", class_label=1)
    assert np.array_equal(items[4]["image"][0].numpy(), expected.array)
