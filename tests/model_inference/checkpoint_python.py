"""Python's safetensors and synthvol read each other's files.

Reads a checkpoint of synthvol-random-model and compares every tensor with the hash it comes from;
saves the same tensors with Python's library beside a copy of config.json; the digest tool of the
tests must accept that folder too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file


def hash_uniform(salt: int, stream: int, count: int) -> np.ndarray:
    """Returns `count` values in [-1, 1), shared/golden/README.md."""
    with np.errstate(over="ignore"):
        x = np.arange(count, dtype=np.uint64) + np.uint64((salt << 48) + (stream << 32))
        x += np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return ((x >> np.uint64(40)).astype(np.float64) / 2**23 - 1).astype(np.float32)


def main() -> int:
    binaries = Path(os.environ["SYNTHVOL_BIN_DIR"])
    probe = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        ours = Path(temporary) / "ours"
        subprocess.run(
            [binaries / "synthvol-random-model", "--size", "64", "--channels", "8",
             "--latent-dim", "20", "--num-classes", "2", "--seed", "9", "--output", ours],
            check=True, stdout=subprocess.DEVNULL)
        tensors = load_file(ours / "model.safetensors")
        assert len(tensors) == 28, sorted(tensors)
        assert tensors["fc1.weight"].shape == (16 * 8 * 64, 22)
        weight = tensors["tp_conv1.weight"]
        expected = hash_uniform(9, 2, weight.size) * np.float32(1 / np.sqrt(128 * 27))
        assert np.array_equal(weight.ravel(), expected)
        norm = tensors["bn1.weight"]
        assert np.array_equal(norm, 1 + np.float32(0.1) * hash_uniform(9, 4, norm.size))

        theirs = Path(temporary) / "theirs"
        theirs.mkdir()
        shutil.copy(ours / "config.json", theirs)
        save_file(tensors, theirs / "model.safetensors", metadata={"format": "np"})
        sums = {
            folder: subprocess.run([probe, folder], check=True, capture_output=True, text=True)
            for folder in (ours, theirs)
        }
        assert sums[ours].stdout == sums[theirs].stdout, (sums[ours], sums[theirs])
    print("safetensors: both ways")
    return 0


if __name__ == "__main__":
    sys.exit(main())
