"""Checkpoints as the released CRF-GAN and HA-GAN code writes them, made by PyTorch: converted, exported and
served, each volume equals PyTorch's."""

from __future__ import annotations

import importlib.util
import io
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import torch
from serving import PATIENCE, Server, export

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "bench" / "training"))
import eager  # noqa: E402

CHANNELS, LATENT = 16, 40


def load_converter() -> ModuleType:
    path = str(ROOT / "scripts" / "convert-checkpoint")
    loader = SourceFileLoader("convert_checkpoint", path)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


CONVERTER = load_converter()


def convert(*arguments: object) -> tuple[int, str, str]:
    """Runs the script in this process, which has loaded torch; returns status, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["convert-checkpoint", *map(str, arguments)]
    with mock.patch.object(sys, "argv", argv), redirect_stdout(out), redirect_stderr(err):
        status = CONVERTER.main()
    return status, out.getvalue(), err.getvalue()


def released_file(path: Path, size: int, ha: bool, inputs: int = LATENT) -> eager.Generator:
    """Saves a generator with its Adam, trained in DataParallel, as the released code does after some steps."""
    torch.manual_seed(size + ha)
    generator = eager.Generator(size, ha, CHANNELS, inputs)
    adam = torch.optim.Adam(generator.parameters(), lr=1e-4, betas=(0.0, 0.999))
    with torch.no_grad():
        for name, value in generator.named_parameters():
            if ".bn" in "." + name:
                value.add_(0.2 * torch.randn(value.shape))
    for value in generator.parameters():
        value.grad = 0.1 * torch.randn(value.shape)
    adam.step()
    state = {f"module.{name}": value for name, value in generator.state_dict().items()}
    torch.save({"model": state, "optimizer": adam.state_dict()}, path)
    return generator


class Released(unittest.TestCase):
    folder: Path

    @classmethod
    def setUpClass(cls) -> None:
        torch.set_num_threads(1)
        cls.folder = Path(tempfile.mkdtemp(prefix="synthvol-released-"))

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.folder)

    def test_served_volumes_equal_pytorchs(self) -> None:
        generators = {}
        for arch, size in (("crf-gan", 64), ("ha-gan", 64), ("crf-gan", 128), ("ha-gan", 128)):
            name = f"{arch}-{size}"
            path = self.folder / f"{name}.pth"
            generators[name] = released_file(path, size, arch == "ha-gan")
            status, out, err = convert(path, "--size", size, "--output", self.folder / name)
            self.assertEqual(status, 0, err)
            self.assertIn(f"{arch}, {size} voxels", out)
            export(self.folder / name, self.folder / "models", name)
        with Server(self.folder / "models") as server:
            for name, generator in generators.items():
                with self.subTest(name):
                    flags = ["--seed", "9", "--format", "npy", "--dtype", "float32"]
                    files = server.generate(name, self.folder / f"{name}-served", *flags)
                    (volume,) = [np.load(path) for path in files if path.suffix == ".npy"]
                    latent = torch.randn(1, LATENT, generator=torch.Generator().manual_seed(9))
                    with torch.no_grad():
                        expected = generator.render(generator.embed(latent))[0, 0].numpy()
                    self.assertEqual(volume.dtype, np.float32)
                    self.assertGreater(expected.std(), 0.02)
                    np.testing.assert_allclose(volume, expected, rtol=0, atol=1e-4)

    def test_foreign_files_are_refused_in_one_line(self) -> None:
        good = self.folder / "good.pth"
        released_file(good, 64, ha=False)
        content = torch.load(good, weights_only=True)

        def altered(name: str, change: dict) -> Path:
            path = self.folder / f"{name}.pth"
            state = {**content["model"], **change}
            torch.save({"model": {k: v for k, v in state.items() if v is not None}}, path)
            return path

        code = self.folder / "code.pth"
        code.write_bytes(pickle.dumps({"model": subprocess.Popen}))
        text = self.folder / "text.pth"
        text.write_text("not a checkpoint")
        table = [
            (code, "not a PyTorch file of tensors"),
            (text, "not a PyTorch file of tensors"),
            (self.folder / "absent.pth", "no such file"),
            (altered("no-layer", {"module.tp_conv3.bias": None}), "'tp_conv3.bias' is missing"),
            (altered("no-fc", {"module.fc1.weight": None}), "expected a generator"),
            (altered("shape", {"module.tp_conv3.bias": torch.zeros(3)}), "'tp_conv3.bias' is (3,)"),
            (altered("nan", {"module.bn1.weight": torch.full((16 * CHANNELS,), torch.nan)}), "not finite"),
            (altered("scalar", {"module.fc1.bias": 3}), "'fc1.bias' is not a tensor"),
        ]
        for path, words in table:
            with self.subTest(path.name):
                status, _, err = convert(path, "--size", 64, "--output", self.folder / "never")
                self.assertEqual((status, len(err.splitlines())), (1, 1), err)
                self.assertIn(words, err)
                self.assertIn(str(path), err)
                self.assertFalse((self.folder / "never").exists())
        _, _, err = convert(good, "--size", 64, "--output", self.folder / "never", "--num-classes", LATENT)
        self.assertIn("--num-classes", err)
        (self.folder / "there").mkdir()
        status, _, err = convert(good, "--size", 64, "--output", self.folder / "there")
        self.assertEqual((status, len(err.splitlines())), (1, 1))
        self.assertIn("exists already", err)

    def test_a_python_without_torch_is_told_so(self) -> None:
        script = ROOT / "scripts" / "convert-checkpoint"
        hidden = self.folder / "hidden"
        hidden.mkdir()
        (hidden / "torch.py").write_text("raise ModuleNotFoundError('none', name='torch')")
        (hidden / "safetensors.py").write_text("raise ModuleNotFoundError('none', name='safetensors')")
        done = subprocess.run(
            [sys.executable, script, "x.pth", "--size", "64", "--output", self.folder / "never"],
            env=os.environ | {"PYTHONPATH": str(hidden)}, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        self.assertEqual((done.returncode, len(done.stderr.splitlines())), (1, 1), done.stderr)
        self.assertIn("scripts/setup --tests", done.stderr)


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
