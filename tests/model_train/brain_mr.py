"""Brain MR from NIfTI to served volumes: T1-like scans with their own intensity scales, a percentile window."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import nibabel
import numpy as np
from runs import BIN, train
from serving import PATIENCE, Server, export

LOW, HIGH = 0.5, 99.5


def t1_like(seed: int) -> np.ndarray:
    """Head of ellipsoids: skull, grey and white matter, ventricles; [x, y, z], scanner units of its own."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (70, 84, 66)), indexing="ij"))

    def inside(*radii: float) -> np.ndarray:
        return (sum((g / r) ** 2 for g, r in zip(grid, radii, strict=True)) < 1)  # type: ignore[return-value]

    volume = 0.15 * inside(0.85, 0.95, 0.9) + 0.35 * inside(0.75, 0.85, 0.8) + 0.3 * inside(0.6, 0.7, 0.6)
    volume = volume - 0.6 * inside(0.15, 0.3, 0.2) + 0.02 * rng.standard_normal(volume.shape)
    return (np.clip(volume, 0, None) * rng.uniform(400, 3000)).astype(np.float32)


class BrainMr(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="synthvol-mr-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def test_nifti_scans_train_and_serve_as_raw_and_nifti(self) -> None:
        scans = self.folder / "scans"
        scans.mkdir()
        for i in range(3):
            image = nibabel.Nifti1Image(t1_like(i), np.diag([2.5, 2.5, 2.5, 1.0]))
            nibabel.save(image, scans / f"t1-{i}.nii.gz")
        data, run = self.folder / "data", self.folder / "run"
        prepare = [BIN / "synthvol-prepare", "--input", scans, "--output", data, "--size", "64", "--split", "1"]
        window = ["--modality", "MR", "--window", f"percentile:{LOW},{HIGH}"]
        done = subprocess.run([*prepare, *window], capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        manifest = json.loads((data / "manifest.json").read_text())
        self.assertEqual(manifest["modality"], "MR")
        for item in manifest["items"]:
            # Each scan is put on the unit scale by its own percentiles.
            scan = np.asanyarray(nibabel.load(item["source"]).dataobj)
            np.testing.assert_allclose(item["window"], np.percentile(scan, [LOW, HIGH]), rtol=0.01, atol=2)
            stored = np.load(data / item["file"])
            self.assertEqual((stored.min(), stored.max() > 30000), (-32767, True))
        highs = [item["window"][1] for item in manifest["items"]]
        self.assertGreater(max(highs), 1.2 * min(highs))

        done = train(data, run, "--iterations", "2", "--threads", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        config = json.loads((run / "checkpoints" / "2" / "config.json").read_text())
        self.assertEqual(config["modality"], "MR")
        np.testing.assert_allclose(config["window"], manifest["window"])

        export(run, self.folder / "models", "brain")
        with Server(self.folder / "models") as server:
            raw = server.generate("brain", self.folder / "raw", "--format", "raw")
            nifti = server.generate("brain", self.folder / "nifti", "--format", "nifti")
        (voxels,) = [np.fromfile(path, "<i2").reshape(64, 64, 64) for path in raw if path.suffix == ".raw"]
        (image,) = [nibabel.load(path) for path in nifti if ".nii" in path.name]
        served = np.asanyarray(image.dataobj)
        np.testing.assert_allclose(image.header.get_zooms(), config["spacing"], rtol=1e-4)
        # Voxels are the same ones; NIfTI orders them x, y, z, by its own direction of axes.
        orientation = nibabel.io_orientation(image.affine)
        axial = nibabel.apply_orientation(served, orientation)[::-1, ::-1].transpose(2, 1, 0)
        np.testing.assert_array_equal(axial, voxels)
        self.assertGreaterEqual(voxels.min(), round(config["window"][0]) - 1)
        self.assertLessEqual(voxels.max(), round(config["window"][1]) + 1)
        self.assertGreater(int(voxels.max()) - int(voxels.min()), 10)


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
