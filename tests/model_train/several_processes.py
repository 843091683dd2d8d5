"""Data-parallel training through torchrun's environment: the losses of one process with the doubled batch,
exact resume, an agreed end, and the death of a process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import numpy as np
import torch.distributed
from runs import command, losses, steps, train, write_data
from safetensors.numpy import load_file

PATIENCE = 800


class Launcher:
    """Starts the processes of one run and keeps their store, as torchrun does: on a port that is free."""

    def __init__(self, data: Path, run: Path, *extra: str, count: int = 2, others_data: Path | None = None) -> None:
        self.store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.processes = [
            subprocess.Popen(
                command(others_data if rank and others_data else data, run, "--threads", "1", *extra),
                env=os.environ | self.environment(rank, count),
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(count)
        ]

    def environment(self, rank: int, count: int) -> dict[str, str]:
        return {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self.store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }

    def wait(self) -> list[tuple[int, str]]:
        """Returns each rank's status and what it said."""
        try:
            said = [process.communicate(timeout=PATIENCE)[1] for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
        return [(process.returncode, text) for process, text in zip(self.processes, said, strict=True)]


def wait_for_checkpoint(run: Path, launcher: Launcher, step: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (run / "checkpoints").exists() or not steps(run) or steps(run)[-1] < step:
        assert time.monotonic() < deadline, "no checkpoint was written"
        assert all(process.poll() is None for process in launcher.processes), launcher.wait()
        time.sleep(0.02)


def complaints(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("synthvol-train: ")]


class SeveralProcesses(unittest.TestCase):
    folder: Path
    data: Path

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix="synthvol-ranks-"))
        cls.data = write_data(cls.folder / "data", count=6, labels=[0, 1, 1, 0, 1, 0])

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.folder)

    def expect_fine(self, launcher: Launcher) -> None:
        for status, text in launcher.wait():
            self.assertEqual(status, 0, text)

    def test_two_processes_give_the_losses_of_the_doubled_batch(self) -> None:
        cases = {
            "crf-gan": ["--arch", "crf-gan", "--channels", "8"],
            "ha-gan": ["--arch", "ha-gan", "--channels", "16", "--num-classes", "2"],
            "accumulated": ["--arch", "crf-gan", "--channels", "8", "--num-classes", "2", "--accumulate", "2"],
        }
        for name, flags in cases.items():
            with self.subTest(name):
                flags = [*flags, "--iterations", "2", "--checkpoint-every", "1", "--lr-g", "1e-5", "--lr-d", "1e-5", "--lr-e", "1e-5"]
                one, two = self.folder / f"{name}-one", self.folder / f"{name}-two"
                done = train(self.data, one, *flags, "--batch-size", "2", "--threads", "1")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.expect_fine(Launcher(self.data, two, *flags, "--batch-size", "1"))
                expected, found = losses(one), losses(two)
                self.assertEqual(len(found), 2)
                for want, have in zip(expected, found, strict=True):
                    self.assertEqual(want.keys(), have.keys())
                    for key, value in want.items():
                        self.assertAlmostEqual(have[key], value, delta=1e-4 * abs(value), msg=key)
                self.compare_moments(*(load_file(run / "checkpoints" / "1" / "training.safetensors") for run in (one, two)))

    def compare_moments(self, one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> None:
        """The discriminator's first gradients, squared: before any step has made signs of what rounding left."""
        names = [name for name in one if name.startswith("adam.D.")]
        self.assertGreater(len(names), 10)
        for name in names:
            self.assertLess(abs(one[name] - two[name]).max(), 0.02 * one[name].max(), name)

    def test_torchrun_starts_it_and_resuming_is_exact(self) -> None:
        whole, halves = self.folder / "whole", self.folder / "halves"
        flags = ["--batch-size", "1", "--ema", "0.9"]
        self.expect_fine(Launcher(self.data, whole, *flags, "--iterations", "4"))
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        line = command(self.data, halves, *flags, "--threads", "1", "--iterations", "2")
        done = subprocess.run(
            [*torchrun, "--no-python", *line], capture_output=True, text=True, timeout=PATIENCE
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.expect_fine(Launcher(self.data, halves, *flags, "--iterations", "4", "--resume", "latest"))
        self.assertEqual(losses(halves), losses(whole))
        state = json.loads((halves / "checkpoints" / "4" / "state.json").read_text())
        self.assertEqual(state["global_batch"], 2)

    def test_a_signal_to_one_process_ends_all_with_a_checkpoint(self) -> None:
        run = self.folder / "term"
        launcher = Launcher(self.data, run, "--iterations", "100000", "--checkpoint-every", "2")
        wait_for_checkpoint(run, launcher, 2)
        launcher.processes[1].send_signal(signal.SIGTERM)
        self.expect_fine(launcher)
        self.assertEqual(steps(run)[-1], losses(run)[-1]["iteration"])

    def test_a_dead_process_ends_the_run_with_the_last_checkpoint_intact(self) -> None:
        for victim in (1, 0):
            with self.subTest(victim=victim):
                run = self.folder / f"dead-{victim}"
                launcher = Launcher(self.data, run, "--iterations", "100000", "--checkpoint-every", "2")
                wait_for_checkpoint(run, launcher, 2)
                launcher.processes[victim].kill()
                status, text = launcher.wait()[1 - victim]
                self.assertEqual(status, 1, text)
                said = complaints(text)
                self.assertEqual(len(said), 1, text)
                for word in (f"rank {1 - victim} of 2", "another process", "/checkpoints/", "--resume latest"):
                    self.assertIn(word, said[0])
                last = steps(run)[-1]
                done = train(self.data, run, "--iterations", str(last + 1), "--resume", "latest")
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_process_that_cannot_start_is_named(self) -> None:
        other = write_data(self.folder / "other", count=7)
        small = write_data(self.folder / "small", count=6, size=32)
        for data, words in ((other, "another data set"), (small, "--size is 64")):
            with self.subTest(words):
                launcher = Launcher(self.data, self.folder / "never", "--iterations", "1", others_data=data)
                (first, leader), (second, follower) = launcher.wait()
                self.assertNotEqual(first, 0)
                self.assertNotEqual(second, 0)
                self.assertEqual(len(complaints(leader)), 1, leader)
                self.assertIn("cannot start", leader)
                self.assertEqual(len(complaints(follower)), 1, follower)
                self.assertIn(words, follower)
        few = Launcher(self.data, self.folder / "never", "--iterations", "1", "--batch-size", "4")
        for status, text in few.wait():
            self.assertNotEqual(status, 0)
            self.assertIn("6 training volumes", text)

    def test_bad_environment_is_named(self) -> None:
        table = [
            ({"WORLD_SIZE": "two"}, "WORLD_SIZE"),
            ({"WORLD_SIZE": "2"}, "RANK"),
            ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK"),
            ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_PORT"),
            ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "29500"}, "MASTER_ADDR"),
            ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "1", "MASTER_ADDR": "h", "LOCAL_RANK": "x"}, "LOCAL_RANK"),
        ]
        for environment, name in table:
            with self.subTest(environment):
                done = train(self.data, self.folder / "never", env=os.environ | environment)
                self.assertEqual(done.returncode, 2, done.stderr)
                said = complaints(done.stderr)
                self.assertEqual(len(said), 1, done.stderr)
                self.assertIn(f"environment variable {name} is", said[0])


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
