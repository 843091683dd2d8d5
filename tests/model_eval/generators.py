"""Generators with a known fault, each judged by the report's gate, and the command line's errors.

Usage: generators.py BIN_FOLDER REPOSITORY
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BIN, THRESHOLDS = Path(), Path()
SIZE = 32


# One thread: OpenMP spins where cores are shared.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BIN / str(arguments[0])), *map(str, arguments[1:])], capture_output=True, text=True,
                          env=ENVIRONMENT)


class Page(HTMLParser):
    """Counts a page's elements and collects what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.fetched += [str(value) for name, value in attrs
                         if name in ("src", "href") and not str(value).startswith("data:")]


class Generators(unittest.TestCase):
    folder: Path
    data: Path
    random: np.random.Generator

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix="generators-"))
        cls.data = cls.folder / "data"
        for name, seed, count in (("data", 1, 16), ("fresh", 1000, 6)):
            made = run("synthvol-prepare", "--phantom", count, "--phantom-seed", seed, "--size", SIZE, "--split", 0.75,
                       "--output", cls.folder / name)
            assert made.returncode == 0, made.stderr
        cls.random = np.random.default_rng(3)

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.folder)

    def volumes(self, data: str, split: str | None = None) -> list[Any]:
        """Reads a prepared data set's volumes in Hounsfield units."""
        manifest = json.loads((self.folder / data / "manifest.json").read_text())
        low, high = -1024, 600
        return [(np.load(self.folder / data / item["file"]) / 32767 + 1) / 2 * (high - low) + low
                for item in manifest["items"] if split in (None, item["split"])]

    def write(self, name: str, volumes: list[Any]) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        for number, volume in enumerate(volumes):
            np.save(folder / f"{number:03d}.npy", np.clip(np.rint(volume), -1024, 600).astype(np.int16))
        return folder

    def noisy(self, volume: Any, sigma: float) -> Any:  # noqa: ANN401
        return volume + self.random.normal(0, sigma, volume.shape)

    def judge(self, name: str, volumes: list[Any]) -> tuple[int, set[str], dict[str, Any]]:
        """Returns the exit status, the figures that failed, and the report's JSON."""
        output = self.folder / f"{name}.html"
        result = run("synthvol-eval", "report", "--real", self.data, "--synthetic", self.write(name, volumes),
                     "--label", name, "--bootstrap", 20, "--pairs", 15, "--gate", THRESHOLDS,
                     "--output", output, "--json", output.with_suffix(".json"))
        self.assertTrue(output.exists(), result.stderr)
        report = json.loads(output.with_suffix(".json").read_text())
        return result.returncode, {c["figure"] for c in report["gate"]["checks"] if not c["passed"]}, report

    def test_fresh_phantoms_pass(self) -> None:
        status, failed, report = self.judge("fresh-volumes", self.volumes("fresh"))
        self.assertEqual((status, failed), (0, set()), report["plausibility"]["violations"])
        page = Page((self.folder / "fresh-volumes.html").read_text())
        self.assertEqual(page.fetched, [], "the report must need nothing beside it")
        self.assertGreaterEqual(page.count["svg"], 5)
        self.assertEqual(page.count["img"], 3)
        self.assertIn("RANDOM UNTRAINED", (self.folder / "fresh-volumes.html").read_text())
        self.assertEqual(report["fid"]["real_volumes"], 12)
        self.assertEqual(report["fid"]["synthetic_volumes"], 6)

    def test_a_copier_fails_for_copying(self) -> None:
        training = self.volumes("data", "train")
        status, failed, report = self.judge("copier", [self.noisy(v, 15) for v in training[:8]])
        self.assertEqual((status, failed), (1, {"memorisation.copies"}), report["plausibility"]["violations"])
        self.assertEqual(report["memorisation"]["voxel"]["copies"], 8)
        closest = report["memorisation"]["closest"][0]
        manifest = json.loads((self.data / "manifest.json").read_text())
        files = [item["file"] for item in manifest["items"] if item["split"] == "train"]
        self.assertEqual(closest["training_name"], files[closest["generated"]])
        picture = self.folder / "closest.png"
        status = run("synthvol-eval", "memorisation", "--real", self.data, "--synthetic", self.folder / "copier",
                     "--count", 2, "--picture", picture)
        self.assertEqual(status.returncode, 1, status.stderr)
        self.assertIn("2 of 2 generated volumes are copies", status.stdout)
        image = np.asarray(Image.open(picture).convert("L"))
        # Two pairs, each a copy above what it copies: rows of tiles that are alike, but for the noise.
        self.assertEqual(image.shape, (4 * 128, 3 * 128))
        rows = np.split(image.astype(float), 4)
        for copy, original, other in ((0, 1, 3), (2, 3, 1)):
            likeness = np.abs(rows[copy] - rows[original]).mean()
            self.assertLess(likeness, 0.5 * np.abs(rows[copy] - rows[other]).mean())

    def test_a_repeater_fails_for_lack_of_diversity(self) -> None:
        fresh = self.volumes("fresh")[0]
        status, failed, report = self.judge("repeater", [self.noisy(fresh, 2) for _ in range(8)])
        self.assertEqual((status, failed), (1, {"diversity.excess"}), report["plausibility"]["violations"])
        self.assertGreater(report["diversity"]["ms_ssim"]["mean"], 0.95)

    def test_noise_fails_for_implausibility(self) -> None:
        noise = [self.random.uniform(-1024, 600, (SIZE,) * 3) for _ in range(6)]
        status, failed, report = self.judge("noise", noise)
        self.assertEqual((status, failed), (1, {"plausibility.rejected_fraction"}))
        self.assertEqual(report["plausibility"]["rejected"], 6)
        self.assertIn("roughness", report["plausibility"]["violations_by_figure"])

    def test_two_generators_side_by_side_with_study_and_profile(self) -> None:
        study = self.folder / "study.json"
        profile = self.folder / "profile.json"
        measured = run("synthvol-train", "profile", "--size", 64, "--channels", 16, "--latent-dim", 16,
                       "--batch-sizes", 1, "--iterations", 1, "--threads", 1, "--device", "cpu", "--json", profile)
        self.assertEqual(measured.returncode, 0, measured.stderr)
        pairs = [{"id": f"p{i}", "part": "preference", "first": f"a{i}", "second": f"b{i}"} for i in range(4)]
        (self.folder / "key.json").write_text(json.dumps(
            {"format": 1, "study": "s", "labels": ["<A>", "B"], "pairs": pairs}))
        answers = [{"pair": pair["id"], "chosen": pair["first"]} for pair in pairs]
        (self.folder / "reader.json").write_text(json.dumps(
            {"format": 1, "study": "s", "reader": "r", "answers": answers}))
        made = run("synthvol-eval", "study", "analyze", "--key", self.folder / "key.json", self.folder / "reader.json",
                   "--json", study)
        self.assertEqual(made.returncode, 0, made.stderr)
        output = self.folder / "both.html"
        result = run("synthvol-eval", "report", "--real", self.data, "--synthetic", self.folder / "fresh", "--label",
                     "<A>", "--other", self.write("other", self.volumes("fresh")), "--other-label", "B",
                     "--bootstrap", 5, "--pairs", 3, "--study", study, "--profile", profile, "--output", output)
        self.assertEqual(result.returncode, 0, result.stderr)
        text = output.read_text()
        for expected in ("&lt;A&gt;: 4 votes", "No thresholds were given", "64 voxels a side, cpu, 1 threads",
                         "<th>crf-gan</th><th>ha-gan</th><th>crf-gan / ha-gan</th>", "peak memory, GiB, batch 1",
                         "iterations a second, batch 1"):
            self.assertIn(expected, text)
        self.assertNotIn("<A>", text)
        millions = [cell["parameters"] / 1e6 for cell in json.loads(profile.read_text())]
        self.assertIn(f"<td>{millions[0]:.3f}</td><td>{millions[1]:.3f}</td>"
                      f"<td>{millions[0] / millions[1]:.2f}</td>", text)

    def test_equal_volumes_in_any_form_have_equal_features(self) -> None:
        volume = np.clip(np.rint(self.volumes("fresh")[0]), -1024, 600)
        forms = {"int16": volume.astype(np.int16), "float32": ((volume + 1024) / 812 - 1).astype(np.float32)}
        rows = []
        for name, array in forms.items():
            (self.folder / name).mkdir()
            np.save(self.folder / name / "0.npy", array)
            done = run("synthvol-eval", "features", "--synthetic", self.folder / name, "--output",
                       self.folder / f"{name}.npy")
            self.assertEqual(done.returncode, 0, done.stderr)
            rows.append(np.load(self.folder / f"{name}.npy"))
        self.assertEqual(rows[0].shape, (1, 2048))
        np.testing.assert_allclose(rows[0], rows[1], rtol=1e-4, atol=1e-5)

    def test_errors_name_what_is_wrong(self) -> None:
        few = self.write("few", [self.volumes("fresh")[0]])
        np.save(self.folder / "flat.npy", np.zeros((2, 3), np.float32))
        np.save(self.folder / "other-dims.npy", np.zeros((2, 4), np.float32))
        (self.folder / "empty").mkdir()
        (self.folder / "slab").mkdir()
        np.save(self.folder / "slab" / "0.npy", np.zeros((4, 32, 32), np.int16))
        (self.folder / "hu").mkdir()
        np.save(self.folder / "hu" / "0.npy", np.full((16, 16, 16), 40, np.float32))
        (self.folder / "cell.json").write_text('[{"arch": "crf-gan", "device": "cpu", "size": "64"}]')
        (self.folder / "bad.json").write_text('{"format": 1, "limits": {"fid.value": {"most": 3}}}')
        data, flat = self.data, self.folder / "flat.npy"
        table: list[tuple[int, str, list[object]]] = [
            (2, "--real is required", ["fid", "--synthetic", few]),
            (2, "no such folder", ["fid", "--real", data, "--synthetic", self.folder / "nowhere"]),
            (2, "expected a prepared data set", ["fid", "--real", data, "--synthetic", self.folder / "empty"]),
            (2, "expected a cube", ["fid", "--real", data, "--synthetic", self.folder / "slab"]),
            (2, "unit scale", ["features", "--synthetic", self.folder / "hu", "--output", self.folder / "o.npy"]),
            (2, "at least 2 volumes a side", ["fid", "--real", data, "--synthetic", few]),
            (2, "of 3 and 4 values", ["fid", "--real", flat, "--synthetic", self.folder / "other-dims.npy"]),
            (2, "different extractors", ["mmd", "--real", data, "--synthetic", flat]),
            (2, "at least 2 volumes", ["diversity", "--synthetic", few]),
            (2, "--split", ["fid", "--real", data, "--synthetic", few, "--split", "test"]),
            (2, "--window", ["diversity", "--synthetic", few, "--window", "600,-1024"]),
            (2, "needs ranges", ["plausibility", "--synthetic", few]),
            (2, "limits.fid.value", ["fid", "--real", flat, "--synthetic", flat, "--gate", self.folder / "bad.json"]),
            (1, "weights", ["fid", "--real", data, "--synthetic", few, "--weights", self.folder / "no-weights"]),
            (2, "size: expected a whole number", ["report", "--real", data, "--synthetic", few, "--profile",
                                                  self.folder / "cell.json", "--output", self.folder / "r.html"]),
            (2, "the array that synthvol-train", ["report", "--real", data, "--synthetic", few, "--profile",
                                                  self.folder / "bad.json", "--output", self.folder / "r.html"]),
            (2, "subcommand", []),
            (2, "study", ["study", "serve", "--folder", few, "--answers", self.folder / "a"]),
        ]
        for status, word, arguments in table:
            with self.subTest(arguments=arguments[:1], word=word):
                result = run("synthvol-eval", *arguments)
                self.assertIn(word, result.stderr)
                self.assertEqual(result.returncode, status, result.stderr)
                last = result.stderr.splitlines()[-1]
                self.assertTrue(last.startswith("synthvol-eval: "), result.stderr)


if __name__ == "__main__":
    BIN, THRESHOLDS = Path(sys.argv.pop(1)), Path(sys.argv.pop(1)) / "model/eval/thresholds.json"
    unittest.main()
