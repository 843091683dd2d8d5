"""Converts MedicalNet's published 3D ResNet-50 (.pth) to safetensors, for synthvol-eval --weights.

Usage: convert_medicalnet.py resnet_50_23dataset.pth resnet50.safetensors

The .pth is a pickle: it is read with weights_only, which refuses anything but tensors.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file

# Blocks and planes of ResNet-50's four layers.
LAYERS = ((3, 64), (4, 128), (6, 256), (3, 512))
EXPANSION = 4


def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Lists every tensor that the feature network reads, with its shape."""
    shapes: dict[str, tuple[int, ...]] = {}

    def add(convolution: str, norm: str, out: int, channels: int, kernel: int) -> None:
        shapes[f"{convolution}.weight"] = (out, channels, kernel, kernel, kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{part}"] = (out,)

    add("conv1", "bn1", 64, 1, 7)
    channels = 64
    for number, (blocks, planes) in enumerate(LAYERS, start=1):
        for block in range(blocks):
            name = f"layer{number}.{block}"
            add(f"{name}.conv1", f"{name}.bn1", planes, channels, 1)
            add(f"{name}.conv2", f"{name}.bn2", planes, planes, 3)
            add(f"{name}.conv3", f"{name}.bn3", planes * EXPANSION, planes, 1)
            if block == 0:
                add(f"{name}.downsample.0", f"{name}.downsample.1", planes * EXPANSION, channels, 1)
            channels = planes * EXPANSION
    return shapes


def convert(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Strips DataParallel's prefix and keeps what the network needs; ValueError names a tensor."""
    plain = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    converted = {}
    for name, shape in expected_shapes().items():
        if name not in plain:
            raise ValueError(f"{name} is missing: expected a ResNet-50 with shortcut type B")
        if tuple(plain[name].shape) != shape:
            raise ValueError(f"{name} has shape {tuple(plain[name].shape)}, expected {shape}")
        converted[name] = plain[name].float().contiguous()
    return converted


def load(path: Path) -> dict[str, torch.Tensor]:
    """Reads the published file's tensors and nothing else; ValueError when there is more or less in it."""
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        # Foreign bytes raise whatever the unpickler stumbles over first.
        except Exception as error:
            raise ValueError("expected a PyTorch file of tensors alone") from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise ValueError("expected a dictionary of named tensors")
    return state


def main(arguments_given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("input", type=Path, help="published weights (.pth)")
    parser.add_argument("output", type=Path, help="file to write (.safetensors)")
    arguments = parser.parse_args(arguments_given)
    try:
        save_file(convert(load(arguments.input)), arguments.output, metadata={"source": arguments.input.name})
    except (OSError, ValueError) as error:
        print(f"convert_medicalnet.py: {arguments.input}: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
