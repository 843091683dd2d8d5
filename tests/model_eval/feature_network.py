"""Holds the feature network against the same network in PyTorch, by way of the converter.

Usage: feature_network.py SYNTHVOL_EVAL CONVERTER
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import pickle
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch
from torch import nn

EVAL, CONVERTER = "", ""


class Block(nn.Module):
    """A bottleneck with MedicalNet's names, shortcut type B."""

    def __init__(self, channels: int, planes: int, stride: int, dilation: int, first: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(planes)
        self.conv2 = nn.Conv3d(planes, planes, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm3d(planes)
        self.conv3 = nn.Conv3d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(4 * planes)
        self.downsample = nn.Sequential(nn.Conv3d(channels, 4 * planes, 1, stride, bias=False),
                                        nn.BatchNorm3d(4 * planes)) if first else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)).relu()
        out = self.bn3(self.conv3(out))
        total: torch.Tensor = out + (self.downsample(x) if self.downsample else x)
        return total.relu()


class ResNet50(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(1, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        self.maxpool = nn.MaxPool3d(3, 2, 1)
        channels = 64
        for number, (planes, blocks, stride, dilation) in enumerate(
                ((64, 3, 1, 1), (128, 4, 2, 1), (256, 6, 1, 2), (512, 3, 1, 4)), start=1):
            layer = []
            for block in range(blocks):
                layer.append(Block(channels, planes, stride if block == 0 else 1, dilation, block == 0))
                channels = 4 * planes
            setattr(self, f"layer{number}", nn.Sequential(*layer))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        for number in range(1, 5):
            x = getattr(self, f"layer{number}")(x)
        return x.mean((2, 3, 4))


def convert(source: Path, target: Path) -> tuple[int, str]:
    """Runs the converter in this process, since importing PyTorch takes seconds; returns status and stderr."""
    spec = importlib.util.spec_from_file_location("convert_medicalnet", CONVERTER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        status = module.main([str(source), str(target)])
    return status, errors.getvalue()


class FeatureNetwork(unittest.TestCase):
    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)

    def test_features_agree_with_pytorch(self) -> None:
        torch.manual_seed(1)
        network = ResNet50().eval()
        for module in network.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight)
            if isinstance(module, nn.BatchNorm3d):
                nn.init.uniform_(module.weight, 0.3, 0.9)
                nn.init.normal_(module.bias, 0, 0.1)
                assert module.running_mean is not None and module.running_var is not None
                nn.init.normal_(module.running_mean, 0, 0.1)
                nn.init.uniform_(module.running_var, 0.5, 2)
        published = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
        torch.save({"epoch": 1, "state_dict": published}, self.folder / "resnet_50.pth")
        self.assertEqual(convert(self.folder / "resnet_50.pth", self.folder / "resnet50.safetensors"), (0, ""))

        # Volumes that differ in more than noise, which pooling would average away.
        ramp = np.linspace(-1, 1, 32, dtype=np.float32)
        volumes = np.stack([np.broadcast_to(ramp, (1, 32, 32, 32)), np.full((1, 32, 32, 32), 0.5, np.float32)])
        volumes[:, :, 8:20, 4:12] *= -1
        (self.folder / "volumes").mkdir()
        for number, volume in enumerate(volumes):
            np.save(self.folder / "volumes" / f"{number}.npy", volume[0])
        subprocess.run([EVAL, "features", "--synthetic", self.folder / "volumes", "--weights",
                        self.folder / "resnet50.safetensors", "--output", self.folder / "features.npy"], check=True,
                       capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        with torch.no_grad():
            expected = network(torch.from_numpy(volumes)).numpy()
        found = np.load(self.folder / "features.npy")
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
        # The two volumes must differ by far more than the agreement that is asked for.
        self.assertGreater(np.abs(expected[0] - expected[1]).max(), 1e-2 * np.abs(expected).max())
        sidecar = (self.folder / "features.npy.json").read_text()
        self.assertIn("resnet50.safetensors sha256", sidecar)

    def test_converter_refuses_other_files_in_one_line(self) -> None:
        state = ResNet50().state_dict()
        torch.save({k: v for k, v in state.items() if "downsample" not in k}, self.folder / "type-a.pth")
        torch.save({**state, "conv1.weight": torch.zeros(64, 3, 7, 7, 7)}, self.folder / "rgb.pth")
        (self.folder / "hostile.pth").write_bytes(pickle.dumps(Path("/")))
        (self.folder / "text.pth").write_text("hello")
        for name, word in (("type-a", "shortcut type B"), ("rgb", "(64, 1, 7, 7, 7)"), ("hostile", "of tensors alone"),
                           ("text", "of tensors alone"), ("absent", "absent.pth")):
            with self.subTest(name):
                status, errors = convert(self.folder / f"{name}.pth", self.folder / "out.safetensors")
                self.assertEqual(status, 1, errors)
                self.assertIn(word, errors)
                self.assertEqual(len(errors.splitlines()), 1, errors)
                self.assertFalse((self.folder / "out.safetensors").exists())


if __name__ == "__main__":
    EVAL, CONVERTER = sys.argv.pop(1), sys.argv.pop(1)
    unittest.main()
