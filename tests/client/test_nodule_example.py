"""The augmentation experiment in examples/nodule_detection: its measures, and all of it in tiny sizes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import BIN, PYTHON_PACKAGE

EXAMPLE = PYTHON_PACKAGE / "examples/nodule_detection"
sys.path.append(str(EXAMPLE))

from detector import (  # noqa: E402
    CANDIDATES,
    SIDE,
    Labelled,
    auc,
    endless,
    f1,
    find_candidates,
    label,
    recall,
    scores,
    train,
)
from experiment import ARMS, interval  # noqa: E402

torch.set_num_threads(1)


def test_measures_of_known_decisions() -> None:
    labels = np.array([True, True, True, True, False, False])
    found = np.array([True, True, True, False, True, False])
    assert recall(found, labels) == 0.75
    assert f1(found, labels) == pytest.approx(2 * 0.75 * 0.75 / 1.5)
    assert auc(np.array([0.9, 0.8, 0.5, 0.2, 0.5, 0.1]), labels) == pytest.approx((2 + 2 + 1.5 + 1) / 8)
    assert np.isnan(recall(found, ~labels & labels))


def test_intervals_hold_the_mean_and_shrink_with_the_runs_agreeing() -> None:
    random = np.random.default_rng(1)
    labels = random.random(200) < 0.5
    good, bad = labels ^ (random.random((5, 200)) < 0.1), labels ^ (random.random((5, 200)) < 0.4)
    low, high = interval(good[None], labels, f1, 500)
    assert low < np.mean([f1(run, labels) for run in good]) < high and high - low < 0.15
    low, high = interval(np.stack([bad, good]), labels, f1, 500)
    assert 0 < low < high, "a clear difference is told from none"
    low, high = interval(np.stack([bad, bad]), labels, f1, 500)
    assert low == high == 0, "arms are paired by run and by volume"


def test_every_item_comes_before_any_again() -> None:
    following = endless(5, np.random.default_rng(0))
    assert [sorted(following() for _ in range(5)) for _ in range(3)] == [[0, 1, 2, 3, 4]] * 3


def chest(nodule: tuple[int, int, int] | None, random: np.random.Generator) -> np.ndarray:
    """A body with one lung, small spots of noise in it, and perhaps a bright ball."""
    z, y, x = np.ogrid[:64, :64, :64]
    volume = np.full((64, 64, 64), -1.0, np.float32)
    volume[(y - 32) ** 2 + (x - 32) ** 2 + 0 * z < 28**2] = 0.3
    volume[(y - 32) ** 2 + (x - 32) ** 2 + (z - 32) ** 2 < 22**2] = -0.8
    volume += random.normal(0, 0.05, volume.shape).astype(np.float32)
    if nodule is not None:
        volume[(z - nodule[0]) ** 2 + (y - nodule[1]) ** 2 + (x - nodule[2]) ** 2 < 2.5**2] = 0.3
    return volume


def test_candidates_are_found_in_the_lungs() -> None:
    random = np.random.default_rng(3)
    cubes = find_candidates(chest((30, 36, 25), random))
    assert cubes.shape == (CANDIDATES, SIDE, SIDE, SIDE)
    assert cubes[0, SIDE // 2 - 1 : SIDE // 2 + 2, SIDE // 2, SIDE // 2].min() > 0, "the ball is the first candidate"
    nothing = find_candidates(np.full((64, 64, 64), -1.0, np.float32))
    assert (nothing == -1).all(), "a volume without lungs has no candidates"


def chests(count: int, seed: int) -> Labelled:
    """Every second one has a ball."""
    random = np.random.default_rng(seed)
    places = [tuple(random.integers(24, 41, 3).tolist()) if index % 2 else None for index in range(count)]
    return label((chest(place, random), float(place is not None)) for place in places)


def test_the_detector_learns_to_tell_balls_from_noise() -> None:
    training, held_out = chests(12, 1), chests(12, 2)
    detector = train(training, None, 0, steps=40)
    assert auc(scores(detector, held_out), held_out.labels.numpy() > 0.5) > 0.9
    again = train(training, None, 0, steps=2), train(training, None, 0, steps=2)
    assert all(torch.equal(a, b) for a, b in zip(again[0].parameters(), again[1].parameters(), strict=True))


def test_the_whole_experiment_in_tiny_sizes(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, EXAMPLE / "experiment.py", "--quick", "--work", tmp_path / "work"]
    for attempt in ("first", "again"):  # the second time, data, model and synthetic volumes are there already
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stdout + done.stderr
        assert ("synthvol-train" in done.stdout) == (attempt == "first")
        results = json.loads((tmp_path / "work/results.json").read_text())
        for metric in ("recall", "F1"):
            for arm in ARMS:
                entry = results["metrics"][metric][arm]
                assert len(entry["values"]) == 2 and all(0 <= value <= 1 for value in entry["values"])
                assert entry["interval"][0] <= entry["interval"][1]
        if attempt == "first":
            first = results
    assert results == first, "the same experiment has the same outcome"
    calls = [json.loads(line) for line in (tmp_path / "work/server.log").read_text().splitlines()]
    assert any(line.get("method") == "GetModel" for line in calls if line["event"] == "call")
    table = (tmp_path / "work/results.md").read_text()
    assert table in done.stdout and table.count("|") > 15
    assert ElementTree.parse(tmp_path / "work/results.svg").getroot().tag.endswith("svg")
    assert len(list((tmp_path / "work/cache").glob("*.volume"))) == 8
