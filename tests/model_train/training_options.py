"""What the options of a run change: classes, CRF nodes, precision, accumulation, decay, and the profile's table."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
from runs import BIN, losses, train, write_data
from safetensors.numpy import load_file


class TrainingOptions(unittest.TestCase):
    folder: Path
    data: Path

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix="synthvol-options-"))
        cls.data = write_data(cls.folder / "data", count=4)

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.folder)

    def run_fine(self, name: str, *flags: str) -> Path:
        run = self.folder / name
        done = train(self.data, run, "--threads", "1", *flags)
        self.assertEqual(done.returncode, 0, done.stderr)
        return run

    def refuse(self, words: tuple[str, ...], *flags: str) -> None:
        done = train(self.data, self.folder / "never", "--iterations", "1", *flags)
        self.assertIn(done.returncode, (1, 2))
        said = [line for line in done.stderr.splitlines() if line.startswith("synthvol-train: ")]
        self.assertEqual(len(said), 1, done.stderr)
        for word in words:
            self.assertIn(word, said[0])

    def labels(self, name: str, *rows: tuple[object, ...]) -> str:
        path = self.folder / name
        with path.open("w", newline="") as out:
            csv.writer(out).writerows(rows)
        return str(path)

    def test_both_architectures_learn_classes_from_a_csv(self) -> None:
        rows = [("file", "class"), *((f"0000{i}.npy", i % 3) for i in range(3)), ("phantom:3", 2)]
        table = self.labels("labels.csv", *rows)
        for arch in ("crf-gan", "ha-gan"):
            with self.subTest(arch):
                flags = ["--arch", arch, "--channels", "16", "--num-classes", "3", "--labels", table]
                run = self.run_fine(f"classes-{arch}", *flags, "--iterations", "1", "--preview-every", "1")
                (row,) = losses(run)
                # A fresh class head knows nothing: cross-entropy near log(3).
                for name in ("d_class", "g_class"):
                    self.assertAlmostEqual(row[name], np.log(3), delta=0.3)
                checkpoint = run / "checkpoints" / "1"
                self.assertEqual(json.loads((checkpoint / "config.json").read_text())["num_classes"], 3)
                self.assertEqual(load_file(checkpoint / "model.safetensors")["fc1.weight"].shape[1], 16 + 3)
                training = load_file(checkpoint / "training.safetensors")
                self.assertEqual(training["D.fc2_class.weight"].shape[0], 3)
                self.assertGreater(np.abs(training["adam.D.fc2_class.weight"]).max(), 0)
                self.assertTrue((run / "previews" / "0000001.png").exists())

    def test_bad_labels_are_named(self) -> None:
        files = [(f"0000{i}.npy", 0) for i in range(4)]
        classes = ["--num-classes", "2", "--labels"]
        self.refuse(("missing.csv", "00003.npy"), *classes, self.labels("missing.csv", *files[:3]))
        beyond = self.labels("beyond.csv", *files[:3], ("00003.npy", 2))
        self.refuse(("beyond.csv", "class 2 of", "00003.npy", "0 to 1"), *classes, beyond)
        below = self.labels("below.csv", *files[:3], ("00003.npy", -1))
        self.refuse(("below.csv", "class -1", "0 to 1"), *classes, below)
        torn = self.labels("torn.csv", *files[:2], ("00002.npy",))
        self.refuse(("torn.csv:3", "file,class"), *classes, torn)
        self.refuse(("absent.csv",), *classes, str(self.folder / "absent.csv"))

    def test_crf_nodes_may_be_axial_slabs(self) -> None:
        released = losses(self.run_fine("released", "--iterations", "2"))
        depth = losses(self.run_fine("depth", "--iterations", "2", "--crf-nodes", "depth"))
        # The CRF's weights start at zero, so nodes matter from its first step on.
        self.assertEqual(released[0], depth[0])
        self.assertNotEqual(released[1]["crf_real"], depth[1]["crf_real"])
        self.assertAlmostEqual(released[1]["crf_real"], depth[1]["crf_real"], delta=0.1)
        config = json.loads((self.folder / "depth" / "checkpoints" / "2" / "config.json").read_text())
        self.assertEqual(config["crf_nodes"], "depth")
        self.refuse(("--crf-nodes depth", "released"), "--resume", str(self.folder / "depth" / "checkpoints" / "2"))

    @unittest.skipUnless(
        re.search("avx512_bf16|amx_bf16", Path("/proc/cpuinfo").read_text()),
        "this CPU has no bfloat16 instructions: minutes an iteration",
    )
    def test_bf16_stays_near_fp32(self) -> None:
        exact = losses(self.run_fine("fp32", "--iterations", "1"))[0]
        rounded = losses(self.run_fine("bf16", "--iterations", "1", "--precision", "bf16"))[0]
        self.assertNotEqual(exact, rounded)
        for name, value in exact.items():
            self.assertAlmostEqual(rounded[name], value, delta=0.05 * abs(value) + 0.01, msg=name)
        weights = load_file(self.folder / "bf16" / "checkpoints" / "1" / "model.safetensors")
        self.assertEqual({str(value.dtype) for value in weights.values()}, {"float32"})

    def test_accumulated_micro_batches_are_near_one_batch(self) -> None:
        whole = losses(self.run_fine("whole", "--iterations", "1", "--batch-size", "4"))[0]
        parts = losses(self.run_fine("parts", "--iterations", "1", "--batch-size", "2", "--accumulate", "2"))[0]
        for name, value in whole.items():
            # Not equal: each micro-batch moves the discriminator's power iteration by one.
            self.assertAlmostEqual(parts[name], value, delta=0.03, msg=name)
        self.assertEqual(parts["crop"], whole["crop"])

    def test_low_memory_gives_the_losses_of_the_whole_batch(self) -> None:
        flags = ["--iterations", "2", "--batch-size", "4"]
        fast = losses(self.run_fine("fast", *flags))
        low = losses(self.run_fine("low", *flags, "--memory", "low"))
        for iteration, tolerance in ((0, 5e-4), (1, 5e-3)):
            for name, value in fast[iteration].items():
                self.assertAlmostEqual(low[iteration][name], value, delta=tolerance * max(abs(value), 1), msg=name)

    def test_decay_lowers_the_rates_linearly(self) -> None:
        moved = []
        for name, decay in (("steady", "0"), ("decayed", "1")):
            run = self.run_fine(name, "--iterations", "2", "--checkpoint-every", "1", "--decay", decay)
            first, second = (load_file(run / "checkpoints" / str(i) / "training.safetensors") for i in (1, 2))
            moved.append({key: second[key] - first[key] for key in first if key.startswith("D.") and "u0" not in key})
        for key, full in moved[0].items():
            # Iteration 2 of 2 at decay 1: half of each rate.
            np.testing.assert_allclose(moved[1][key], 0.5 * full, rtol=1e-2, atol=2e-7, err_msg=key)

    def test_profile_prints_and_writes_the_papers_table(self) -> None:
        out = self.folder / "profile.json"
        small = ["--size", "64", "--channels", "16", "--latent-dim", "16", "--threads", "1", "--device", "cpu"]
        command = [BIN / "synthvol-train", "profile", *small, "--batch-sizes", "1,4", "--iterations", "1", "--json", out]
        done = subprocess.run(command, capture_output=True, text=True, timeout=800)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual(len(lines), 4, done.stdout)
        self.assertIn("peak GiB, batch 1 | peak GiB, batch 4 | it/s, batch 1", lines[0])
        self.assertEqual({line.count("|") for line in lines}, {6})
        cells = json.loads(out.read_text())
        self.assertEqual([(c["arch"], c["batch_size"]) for c in cells],
                         [("crf-gan", 1), ("crf-gan", 4), ("ha-gan", 1), ("ha-gan", 4)])  # fmt: skip
        for cell in cells:
            # Each cell has a process of its own, which holds nothing before it begins. (A smaller batch may
            # well take more: the convolutions' algorithms choose other buffers.)
            self.assertLess(cell["base_bytes"], cell["peak_bytes"] - 4 * cell["parameters"])
            self.assertGreater(cell["seconds_per_iteration"], 0)
        self.assertEqual(cells[0]["parameters"], cells[1]["parameters"])
        self.assertGreater(cells[2]["parameters"], cells[0]["parameters"])


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
