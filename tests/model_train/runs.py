"""Small data sets and runs of synthvol-train that the tests share."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np

BIN = Path(os.environ["SYNTHVOL_BIN_DIR"])
SIZE = 64
DEFAULTS = {"--size": "64", "--channels": "8", "--latent-dim": "16", "--batch-size": "2", "--preview-every": "0"}


def write_data(folder: Path, count: int = 5, size: int = SIZE, labels: list[int] | None = None) -> Path:
    """Writes a prepared data set: spheres of random radius, as synthvol-prepare stores volumes."""
    (folder / "volumes").mkdir(parents=True)
    grid = np.linspace(-1, 1, size, dtype=np.float32)
    squared = grid[:, None, None] ** 2 + grid[None, :, None] ** 2 + grid[None, None, :] ** 2
    items = []
    for i in range(count):
        volume = np.where(squared < 0.3 + 0.1 * i, 0.5, -0.9) + 0.02 * np.sin(37 * squared)
        np.save(folder / "volumes" / f"{i:05}.npy", (volume * 32767).astype("<i2"))
        item = {
            "file": f"volumes/{i:05}.npy",
            "source": f"phantom:{i}",
            "source_sha256": f"{i:064x}",
            "patient": f"p{i}",
            "split": "train",
            "spacing_mm": [5.0, 5.0, 4.0],
            "window": [-1024.0, 600.0],
        }
        if labels is not None:
            item["label"] = labels[i]
        items.append(item)
    manifest = {
        "format": "synthvol-dataset",
        "version": 1,
        "size": size,
        "modality": "CT",
        "window": [-1024.0, 600.0],
        "window_rule": "-1024,600",
        "split": {"train_fraction": 1.0, "seed": 0},
        "class_names": [] if labels is None else ["no", "yes"],
        "counts": {"items": count, "train": count, "validation": 0, "failures": 0},
        "items": items,
        "failures": [],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def command(data: Path, run: Path, *extra: str) -> list[str]:
    defaults = [word for flag in DEFAULTS.items() if flag[0] not in extra for word in flag]
    return [
        str(BIN / "synthvol-train"),
        "--data",
        str(data),
        "--output",
        str(run),
        *defaults,
        *extra,
    ]


def train(data: Path, run: Path, *extra: str, **kwargs) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(data, run, *extra), capture_output=True, text=True, timeout=800, **kwargs)


def losses(run: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("seconds")
    return rows


def steps(run: Path) -> list[int]:
    return sorted(int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdigit())
