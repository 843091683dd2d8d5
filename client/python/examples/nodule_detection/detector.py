"""A small 3D detector of lung nodules: does a volume show one? Its training, and how it is judged.

In two steps, as detectors for LUNA16 do it: candidates (bright spots inside the lungs) are found by a filter, and a network
judges the cube around each. The volume is judged by its strongest candidates.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import nn

Floats = npt.NDArray[np.float64]

CANDIDATES = 8  # a volume
SIDE = 16  # voxels of a cube around a candidate


@dataclass(frozen=True)
class Labelled:
    """Candidates of volumes, and the volumes' classes."""

    cubes: torch.Tensor  # [N, CANDIDATES, SIDE, SIDE, SIDE], the networks' scale [-1, 1]
    labels: torch.Tensor  # [N], 1 with nodules, 0 without

    def __len__(self) -> int:
        return len(self.labels)


def find_candidates(volume: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Returns the cubes [CANDIDATES, SIDE, SIDE, SIDE] around the spots of a volume [z, y, x] that stand out most."""
    dark, _ = ndimage.label(ndimage.gaussian_filter(volume, 1.5) < -0.2)
    faces = [dark[:, 0], dark[:, -1], dark[:, :, 0], dark[:, :, -1]]
    outside = np.isin(dark, np.setdiff1d(np.concatenate([face.ravel() for face in faces]), [0]))
    lungs = (ndimage.gaussian_filter(volume, 2.5) < -0.35) & ~outside
    # A difference of Gaussians answers to spots of about its own width.
    answer = ndimage.gaussian_filter(volume, 0.8) - ndimage.gaussian_filter(volume, 1.3)
    answer = np.where(ndimage.binary_erosion(lungs), answer, -1.0)
    half = SIDE // 2
    padded = np.pad(volume, half, constant_values=-1.0)
    cubes = np.full((CANDIDATES, SIDE, SIDE, SIDE), -1.0, np.float32)
    for cube in cubes:
        z, y, x = np.unravel_index(int(answer.argmax()), answer.shape)
        if answer[z, y, x] <= 0:  # a volume without lungs
            break
        cube[:] = padded[z : z + SIDE, y : y + SIDE, x : x + SIDE]
        answer[max(z - 2, 0) : z + 3, max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] = -1.0
    return cubes


def label(volumes: Iterable[tuple[npt.NDArray[np.float32], float]]) -> Labelled:
    """Finds the candidates of volumes [z, y, x] on [-1, 1] with their classes."""
    cubes, labels = [], []
    for volume, its_class in volumes:
        cubes.append(torch.from_numpy(find_candidates(volume)))
        labels.append(its_class)
    return Labelled(torch.stack(cubes), torch.tensor(labels, dtype=torch.float32))


def read_prepared(folder: Path) -> Labelled:
    """Reads every labelled volume of a data set that synthvol-prepare wrote (docs/data-preparation.md)."""
    items = json.loads((folder / "manifest.json").read_text())["items"]
    if any("label" not in item for item in items):
        raise ValueError(f"{folder}/manifest.json: an item has no label; expected a labelled data set")
    return label((np.load(folder / item["file"]).astype(np.float32) / 32767, item["label"]) for item in items)


def collect(items: Iterable[dict[str, Any]]) -> Labelled:
    """Takes the items of a SynthVolIterableDataset, whose classes were asked for."""
    return label((item["image"][0].numpy(), item["class_label"]) for item in items)


class Detector(nn.Module):
    """Judges each candidate's cube; the volume's logit is a soft maximum of its candidates'."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()

        def block(inputs: int, outputs: int) -> nn.Module:
            convolution = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
            return nn.Sequential(convolution, nn.GroupNorm(4, outputs), nn.ReLU(), nn.MaxPool3d(2))

        self.features = nn.Sequential(block(1, width), block(width, 2 * width), block(2 * width, 4 * width))
        self.judge = nn.Linear(4 * width * (SIDE // 8) ** 3, 1)

    def forward(self, cubes: torch.Tensor) -> torch.Tensor:
        """Returns logits [N] of candidates [N, K, side, side, side]."""
        evidence = self.judge(self.features(cubes.flatten(0, 1).unsqueeze(1)).flatten(1))
        return torch.logsumexp(evidence.view(cubes.shape[:2]), 1) - float(np.log(cubes.shape[1]))


def vary(cubes: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """Mirrors along each axis at random: what both arms of a comparison get."""
    return cubes.flip([axis for axis in (2, 3, 4) if random.random() < 0.5])


def train(
    real: Labelled, synthetic: Labelled | None, seed: int, *, steps: int, batch_size: int = 8, share: float = 0.5
) -> Detector:
    """Trains a detector for a number of steps that does not depend on how many volumes there are.

    With `synthetic`, each place in a batch is given to a synthetic volume with probability `share`.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    detector = Detector()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    next_real, next_synthetic = endless(len(real), random), endless(0 if synthetic is None else len(synthetic), random)
    for _ in range(steps):
        cubes, labels = [], []
        for _ in range(batch_size):
            use_synthetic = synthetic is not None and random.random() < share
            source, index = (synthetic, next_synthetic()) if use_synthetic and synthetic else (real, next_real())
            cubes.append(source.cubes[index])
            labels.append(source.labels[index])
        logits = detector(vary(torch.stack(cubes), random))
        loss = nn.functional.binary_cross_entropy_with_logits(logits, torch.stack(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return detector.eval()


def endless(size: int, random: np.random.Generator) -> Callable[[], int]:
    """Returns a function that gives 0..size-1 in random order, each once before any comes again."""
    order: list[int] = []

    def following() -> int:
        if not order:
            order.extend(random.permutation(size).tolist())
        return order.pop()

    return following


@torch.no_grad()
def scores(detector: Detector, volumes: Labelled) -> Floats:
    """Returns the probability of a nodule for each volume."""
    logits = torch.cat([detector(cubes) for cubes in volumes.cubes.split(16)])
    return np.asarray(torch.sigmoid(logits), np.float64)


def recall(found: npt.NDArray[np.bool_], labels: npt.NDArray[np.bool_]) -> float:
    """Returns the share of the volumes with nodules that were found."""
    return float(found[labels].mean()) if labels.any() else float("nan")


def f1(found: npt.NDArray[np.bool_], labels: npt.NDArray[np.bool_]) -> float:
    """Returns the harmonic mean of precision and recall."""
    total = int(found.sum()) + int(labels.sum())
    return 2 * int((found & labels).sum()) / total if total else float("nan")


def auc(score: Floats, labels: npt.NDArray[np.bool_]) -> float:
    """Returns how often a volume with nodules scores above one without; ties count half."""
    difference = score[labels][:, None] - score[~labels][None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())
