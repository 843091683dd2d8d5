"""The life of a run, through the binaries: resume, signals, kills, bad input, what the files hold."""

from __future__ import annotations

import csv
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import numpy as np
from runs import BIN, command, losses, steps, train, write_data
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


class TrainingRun(unittest.TestCase):
    folder: Path
    data: Path
    whole: Path

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix="synthvol-train-"))
        cls.data = write_data(cls.folder / "data")
        cls.whole = cls.folder / "whole"
        done = train(
            cls.data, cls.whole, "--iterations", "6", "--ema", "0.9", "--preview-every", "6", "--keep", "2",
            "--checkpoint-every", "2", "--augment-flip", "--augment-shift", "3", "--augment-jitter", "0.1",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.folder)

    def test_resumed_run_equals_uninterrupted_one(self) -> None:
        run = self.folder / "halves"
        same = ["--ema", "0.9", "--augment-flip", "--augment-shift", "3", "--augment-jitter", "0.1"]
        self.assertEqual(train(self.data, run, "--iterations", "3", *same).returncode, 0)
        done = train(self.data, run, "--iterations", "6", "--resume", "latest", *same)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(losses(run), losses(self.whole))
        for name in ("model.safetensors", "training.safetensors"):
            ours = load_file(run / "checkpoints" / "6" / name)
            theirs = load_file(self.whole / "checkpoints" / "6" / name)
            self.assertEqual(ours.keys(), theirs.keys())
            for key, value in ours.items():
                np.testing.assert_array_equal(value, theirs[key], err_msg=key)

    def test_keeps_the_newest_checkpoints(self) -> None:
        self.assertEqual(steps(self.whole), [4, 6])

    def test_tensorboard_reads_scalars_and_images(self) -> None:
        events = EventAccumulator(str(self.whole / "tensorboard"), size_guidance={"images": 0})
        events.Reload()
        rows = losses(self.whole)
        scalars = events.Scalars("loss/d_real")
        self.assertEqual([e.step for e in scalars], [row["iteration"] for row in rows])
        for event, row in zip(scalars, rows, strict=True):
            self.assertAlmostEqual(event.value, row["d_real"], places=5)
        image = events.Images("preview")[0]
        self.assertEqual(image.encoded_image_string[:8], b"\x89PNG\r\n\x1a\n")
        self.assertEqual(image.encoded_image_string, (self.whole / "previews" / "0000006.png").read_bytes())

    def test_export_takes_last_or_averaged_weights(self) -> None:
        repository = self.folder / "models"
        export = [str(BIN / "synthvol-export"), "--checkpoint", str(self.whole / "checkpoints" / "6")]
        export += ["--repository", str(repository), "--name", "spheres"]
        for extra, version in ((["--version", "4"], 4), (["--ema"], 5)):
            done = subprocess.run([*export, *extra], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stdout.strip(), str(repository / "spheres" / str(version)))
        last = load_file(repository / "spheres" / "4" / "model.safetensors")
        mean = load_file(repository / "spheres" / "5" / "model.safetensors")
        trained = load_file(self.whole / "checkpoints" / "6" / "model.safetensors")
        averaged = load_file(self.whole / "checkpoints" / "6" / "training.safetensors")
        np.testing.assert_array_equal(last["fc1.weight"], trained["fc1.weight"])
        np.testing.assert_array_equal(mean["fc1.weight"], averaged["ema.fc1.weight"])
        config = json.loads((repository / "spheres" / "5" / "config.json").read_text())
        self.assertEqual(config["provenance"]["iterations"], "6")
        np.testing.assert_allclose(config["spacing"], [5.0, 5.0, 4.0])
        again = subprocess.run([*export, "--version", "4"], capture_output=True, text=True)
        self.assertEqual(again.returncode, 1)
        self.assertIn("spheres/4", again.stderr)
        bad = subprocess.run([*export, "--version", "0"], capture_output=True, text=True)
        self.assertEqual(bad.returncode, 2)

    def test_sigterm_writes_a_checkpoint_and_ends_well(self) -> None:
        run = self.folder / "term"
        process = subprocess.Popen(
            command(self.data, run, "--iterations", "100000"), stderr=subprocess.PIPE, text=True
        )
        while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").read_text():
            self.assertIsNone(process.poll())
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, stderr)
        self.assertIn("stopped by a signal", stderr)
        self.assertEqual(steps(run), [losses(run)[-1]["iteration"]])

    def test_kill_in_the_middle_of_writing_leaves_a_good_checkpoint(self) -> None:
        run = self.folder / "kill"
        self.assertEqual(train(self.data, run, "--iterations", "1").returncode, 0)
        caught = 0
        rng = random.Random(4)
        for _ in range(6):
            process = subprocess.Popen(
                command(self.data, run, "--iterations", "100000", "--checkpoint-every", "1", "--resume", "latest"),
                stderr=subprocess.DEVNULL,
            )
            deadline = time.monotonic() + 60
            before = steps(run)[-1]
            # Waits for a checkpoint that is being written, then kills at any moment of it.
            while time.monotonic() < deadline:
                partial = [p for p in (run / "checkpoints").iterdir() if ".partial-" in p.name]
                if partial and steps(run)[-1] > before:
                    break
            time.sleep(rng.uniform(0, 0.01))
            process.kill()
            process.wait()
            caught += any(".partial-" in p.name for p in (run / "checkpoints").iterdir())
            newest = run / "checkpoints" / str(steps(run)[-1])
            state = json.loads((newest / "state.json").read_text())
            self.assertEqual(state["iteration"], int(newest.name))
            load_file(newest / "model.safetensors")
            load_file(newest / "training.safetensors")
        self.assertGreater(caught, 0, "no kill fell into the writing of a checkpoint")
        last = steps(run)[-1]
        done = train(self.data, run, "--iterations", str(last + 1), "--resume", "latest")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertFalse([p for p in (run / "checkpoints").iterdir() if ".partial-" in p.name])
        self.assertEqual([row["iteration"] for row in losses(run)], list(range(1, last + 2)))

    def expect_error(self, done: subprocess.CompletedProcess[str], *words: str) -> None:
        self.assertIn(done.returncode, (1, 2))
        lines = [line for line in done.stderr.splitlines() if line.startswith("synthvol-train: ")]
        self.assertEqual(len(lines), 1, done.stderr)
        for word in words:
            self.assertIn(word, lines[0])

    def test_bad_input_is_named(self) -> None:
        other = write_data(self.folder / "size32", size=32)
        few = write_data(self.folder / "few", count=1)
        some = write_data(self.folder / "labelled", labels=[0, 1, 0, 1, 7])
        partial = self.folder / "labels.csv"
        with partial.open("w", newline="") as out:
            csv.writer(out).writerows([["file", "class"], ["00000.npy", 0], ["00001.npy", 1]])
        once = ["--iterations", "1"]
        run = self.folder / "bad"
        table = [
            (other, once, ("manifest.json", "32", "--size is 64")),
            (few, once, ("1 training volumes", "--batch-size")),
            (some, [*once, "--num-classes", "2"], ("items[4]: label: 7", "0 to 1")),
            (self.data, [*once, "--num-classes", "2"], ("no class for", "00000.npy")),
            (self.data, [*once, "--num-classes", "2", "--labels", str(partial)], ("labels.csv", "00002.npy")),
            (self.folder / "nowhere", once, ("nowhere", "synthvol-prepare")),
            (self.data, [*once, "--device", "cuda"], ("--device cuda", "GPU")),
            (self.data, [*once, "--device", "tpu"], ("--device", "tpu")),
            (self.data, [*once, "--channels", "12"], ("channels", "multiple of 8")),
            (self.data, [*once, "--resume", "latest"], ("--resume latest", "no checkpoint")),
        ]
        for data, flags, words in table:
            with self.subTest(words=words):
                self.expect_error(train(data, run, *flags), *words)
        self.expect_error(train(self.data, self.whole, *once), "holds a run already", "--resume")

    def test_damaged_and_foreign_checkpoints_are_refused(self) -> None:
        run = self.folder / "damaged"
        source = self.whole / "checkpoints" / "6"
        resume = ["--iterations", "7", "--ema", "0.9", "--resume"]

        def damage(name: str) -> Path:
            copy = self.folder / "copies" / name
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(source, copy)
            return copy

        truncated = damage("truncated")
        with (truncated / "training.safetensors").open("r+b") as out:
            out.truncate(5000)
        self.expect_error(train(self.data, run, *resume, str(truncated)), "training.safetensors")
        infinite = damage("infinite")
        raw = bytearray((infinite / "model.safetensors").read_bytes())
        raw[-4:] = np.float32(np.nan).tobytes()
        (infinite / "model.safetensors").write_bytes(raw)
        self.expect_error(train(self.data, run, *resume, str(infinite)), "model.safetensors", "not finite")
        stateless = damage("stateless")
        (stateless / "state.json").write_text("{}")
        self.expect_error(train(self.data, run, *resume, str(stateless)), "state.json")
        self.expect_error(
            train(self.data, run, *resume, str(source), "--channels", "16"), "config.json", "--channels 8"
        )
        self.expect_error(
            train(self.data, run, *resume, str(source), "--channels", "16", "--arch", "ha-gan"),
            "--arch crf-gan", "ha-gan",
        )  # fmt: skip
        no_average = ["--iterations", "1"]
        self.assertEqual(train(self.data, self.folder / "plain", *no_average).returncode, 0)
        plain = self.folder / "plain" / "checkpoints" / "1"
        self.expect_error(train(self.data, run, *resume, str(plain)), "ema.")

    def test_a_full_disk_loses_nothing(self) -> None:
        run = self.folder / "full"
        self.assertEqual(train(self.data, run, "--iterations", "1").returncode, 0)

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

        done = train(self.data, run, "--iterations", "2", "--resume", "latest", preexec_fn=limit)
        self.expect_error(done, "training.safetensors", "File too large")
        self.assertEqual(steps(run), [1])
        self.assertEqual(train(self.data, run, "--iterations", "2", "--resume", "latest").returncode, 0)


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
