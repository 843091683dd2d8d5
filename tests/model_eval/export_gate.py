"""A generator's way from its evaluation into a model repository: synthvol-eval report, then synthvol-export.

Usage: export_gate.py BIN_FOLDER
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

BIN = Path()
# One thread: OpenMP spins where cores are shared.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
# Volumes of hashed weights look like no thorax, but are no copies of one.
FAILING = {"memorisation.copies": {"max": 0}, "plausibility.rejected_fraction": {"max": 0.5}}
PASSING = {"memorisation.copies": {"max": 0}}


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BIN / str(arguments[0])), *map(str, arguments[1:])], capture_output=True, text=True,
                          env=ENVIRONMENT)


class ExportGate(unittest.TestCase):
    folder: Path
    reports: dict[str, Path]

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix="export-gate-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        made = run("synthvol-prepare", "--phantom", 3, "--size", 64, "--split", 1, "--output", cls.folder / "data")
        assert made.returncode == 0, made.stderr
        for seed in (1, 2):
            made = run("synthvol-random-model", "--size", 64, "--channels", 8, "--latent-dim", 16, "--seed", seed,
                       "--output", cls.folder / f"model{seed}")
            assert made.returncode == 0, made.stderr
        cls.reports = {}
        for name, limits in (("failed", FAILING), ("passed", PASSING)):
            cls.reports[name] = cls.folder / f"{name}.json"
            thresholds = cls.folder / f"{name}-thresholds.json"
            thresholds.write_text(json.dumps({"format": 1, "limits": limits}))
            other = ["--other", cls.folder / "model2"] if name == "failed" else []
            done = run("synthvol-eval", "report", "--real", cls.folder / "data", "--synthetic", cls.folder / "model1",
                       "--count", 2, "--bootstrap", 0, "--pairs", 1, "--threads", 1, *other, "--gate", thresholds,
                       "--output", cls.folder / f"{name}.html", "--json", cls.reports[name])
            assert done.returncode == (1 if name == "failed" else 0), done.stderr + done.stdout

    def export(self, name: str, *flags: object, model: str = "model1") -> subprocess.CompletedProcess[str]:
        return run("synthvol-export", "--checkpoint", self.folder / model, "--repository", self.folder / "models",
                   "--name", name, *flags)

    def config(self, name: str, version: int = 1) -> dict[str, Any]:
        path = self.folder / "models" / name / str(version) / "config.json"
        return dict(json.loads(path.read_text()))

    def assert_refused(self, done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_a_failed_gate_refuses_the_export(self) -> None:
        for model in ("model1", "model2"):
            done = self.export("refused", "--evaluation", self.reports["failed"], model=model)
            self.assert_refused(done, 1, "plausibility.rejected_fraction 1 (at most 0.5): FAILED", "--record-failure")
        self.assertFalse((self.folder / "models" / "refused").exists())

    def test_a_failure_that_is_exported_anyway_is_recorded(self) -> None:
        done = self.export("recorded", "--evaluation", self.reports["failed"], "--record-failure")
        self.assertEqual(done.returncode, 0, done.stderr)
        config = self.config("recorded")
        provenance = config["provenance"]
        self.assertEqual(provenance["gate"], "failed")
        self.assertIn("plausibility.rejected_fraction 1 (at most 0.5): FAILED", provenance["gate_checks"])
        self.assertEqual(provenance["evaluation_sha256"],
                         hashlib.sha256(self.reports["failed"].read_bytes()).hexdigest())
        self.assertIn("2 volumes from seeds 0..1", provenance["evaluation_sample"])
        self.assertIn("RANDOM", provenance["evaluation_extractor"])
        # The ranges that it was held to came along: the version is judged without its training data.
        self.assertEqual(config["plausibility"]["volumes"], 3)
        judged = run("synthvol-eval", "plausibility", "--synthetic", self.folder / "models" / "recorded" / "1",
                     "--count", 1)
        self.assertEqual(judged.returncode, 1, judged.stderr)
        self.assertIn("1 of 1 volumes rejected", judged.stdout)

    def test_a_passed_gate_is_recorded_and_stays_with_the_weights(self) -> None:
        done = self.export("passed", "--evaluation", self.reports["passed"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.config("passed")["provenance"]["gate"], "passed")
        version = self.folder / "models" / "passed" / "1"
        done = run("synthvol-export", "--checkpoint", version, "--repository", self.folder / "models", "--name",
                   "passed")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.config("passed", 2), self.config("passed"))

    def test_without_an_evaluation_the_version_says_so(self) -> None:
        self.assertEqual(self.export("unknown").returncode, 0)
        self.assertEqual(self.config("unknown")["provenance"]["gate"], "not evaluated")

    def test_other_evaluations_are_refused(self) -> None:
        (self.folder / "text.json").write_text("hello")
        # As a report without --gate has it.
        ungated = json.loads(self.reports["passed"].read_text()) | {"gate": None}
        (self.folder / "ungated.json").write_text(json.dumps(ungated))
        table = [
            ("model2", 1, "other weights", [self.reports["passed"]]),
            ("model1", 1, "--gate thresholds.json", [self.folder / "ungated.json"]),
            ("model1", 2, "not a JSON object", [self.folder / "text.json"]),
            ("model1", 2, "synthvol-eval report", [self.folder / "passed-thresholds.json"]),
            ("model1", 2, "averaged", [self.reports["passed"], "--ema"]),
        ]
        for model, status, word, arguments in table:
            with self.subTest(word):
                done = self.export("other", "--evaluation", *arguments, model=model)
                self.assert_refused(done, status, word, "--evaluation")
        self.assert_refused(self.export("other", "--evaluation", self.folder / "absent"), 1, "absent")
        self.assert_refused(self.export("other", "--record-failure"), 2, "--evaluation FILE")
        self.assertFalse((self.folder / "models" / "other").exists())


if __name__ == "__main__":
    BIN = Path(sys.argv.pop(1))
    unittest.main()
