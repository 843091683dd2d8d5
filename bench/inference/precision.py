#!/usr/bin/env python3
"""Says how far the voxels of bf16 and TF32 are from those of float32, in stored units (HU).

    bench/inference/precision.py MODEL... [--seeds 4] [--threads 1]
    bench/inference/precision.py MODEL... --engine build/release [--seeds 4]

MODEL is a checkpoint folder. With --engine the CPU engine of that build renders in bf16 and in float32, on a CPU
with AVX512-BF16. Without, a GPU's arithmetic is emulated in PyTorch. It is that of model/inference/cuda: upsampling
folded into the kernel, folded kernels and the inputs of every convolution rounded to the precision, products summed
in float32; in bf16 the outputs of convolutions and of GroupNorm are stored as bf16, statistics are float32. Tensor
cores sum in another order, which this does not show. Prints Markdown for docs/inference.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812

sys.path.insert(0, str(Path(__file__).resolve().parent))
import eager  # noqa: E402

Round = Callable[[torch.Tensor], torch.Tensor]

# Mantissa bits that TF32 drops.
TF32_DROPPED = 13


def to_bf16(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.bfloat16).to(torch.float32)


def to_tf32(x: torch.Tensor) -> torch.Tensor:
    """Rounds to 10 bits of mantissa, to nearest, halves away from zero."""
    half = 1 << (TF32_DROPPED - 1)
    return ((x.contiguous().view(torch.int32) + half) & -(1 << TF32_DROPPED)).view(torch.float32)


def same(x: torch.Tensor) -> torch.Tensor:
    return x


def fold(kernel: torch.Tensor) -> torch.Tensor:
    """Returns the transposed kernel k4 s2 p1 that equals nearest x2 before the kernel k3 p1."""
    for axis in (2, 3, 4):
        w0, w1, w2 = kernel.unbind(axis)
        kernel = torch.stack((w2, w1 + w2, w0 + w1, w0), axis)
    return kernel.transpose(0, 1).contiguous()


class RoundedGenerator(eager.EagerGenerator):
    """The network with the inputs of its convolutions, and what is stored between them, rounded."""

    def __init__(self, folder: Path, size: int, operand: Round, stored: Round) -> None:
        super().__init__(folder, size)
        self.operand, self.stored = operand, stored

    def _convolve(self, x: torch.Tensor, number: int, up: bool) -> torch.Tensor:
        kernel, bias = self.weights[f"tp_conv{number}.weight"], self.weights[f"tp_conv{number}.bias"]
        x = self.operand(x)
        weights = self.operand(fold(kernel) if up else kernel)
        x = F.conv_transpose3d(x, weights, stride=2, padding=1) if up else F.conv3d(x, weights, padding=1)
        return self.stored(x + bias.view(1, -1, 1, 1, 1))

    def _block(self, x: torch.Tensor, number: int, up: bool) -> torch.Tensor:
        x = self._convolve(x, number, up)
        w = self.weights
        return self.stored(F.relu(F.group_norm(x, 8, w[f"bn{number}.weight"], w[f"bn{number}.bias"])))

    def _last(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self._convolve(x, 7, up=True))[0, 0]


Volume = Callable[[int], torch.Tensor]


def print_row(folder: Path, name: str, rounded: Volume, exact: Volume, seeds: int) -> None:
    """Compares the volumes of seeds 1 .. `seeds`."""
    config = json.loads((folder / "config.json").read_text())
    low, high = config["window"]
    worst, total, square, count = 0.0, 0.0, 0.0, 0
    for seed in range(1, seeds + 1):
        difference = (rounded(seed) - exact(seed)).abs().double() * (high - low) / 2
        worst = max(worst, float(difference.max()))
        total, square = total + float(difference.sum()), square + float((difference**2).sum())
        count += difference.numel()
    print(f"| {folder.name} | {config['size']} | {config['channels']} | {name} | {total / count:.3g} | "
          f"{(square / count) ** 0.5:.3g} | {worst:.3g} | {seeds} |", flush=True)


def render(build: Path, folder: Path, precision: str, seed: int) -> torch.Tensor:
    """Returns the volume of the CPU engine, flat."""
    with tempfile.NamedTemporaryFile() as file:
        subprocess.run([build / "bin" / "synthvol-inference-bench", "--model", folder, "--precision", precision,
                        "--seed", str(seed), "--repeats", "1", "--output", file.name],
                       check=True, stdout=subprocess.DEVNULL)
        return torch.frombuffer(bytearray(Path(file.name).read_bytes()), dtype=torch.float32)


def from_seed(network: eager.EagerGenerator, folder: Path, seed: int) -> torch.Tensor:
    config = json.loads((folder / "config.json").read_text())
    return network(eager.latent_of(seed, config["latent_dim"]))


def compare(folder: Path, seeds: int) -> None:
    """Emulates each precision."""
    size = json.loads((folder / "config.json").read_text())["size"]
    exact = eager.EagerGenerator(folder, size)
    for name, operand, stored in (("fp32, folded", same, same), ("TF32", to_tf32, same), ("bf16", to_bf16, to_bf16)):
        network = RoundedGenerator(folder, size, operand, stored)
        print_row(folder, name, partial(from_seed, network, folder), partial(from_seed, exact, folder), seeds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", help="checkpoint folders")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--engine", type=Path, help="build folder of the CPU engine to measure")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| model | size | c | precision | mean HU | RMS HU | largest HU | volumes |\n"
          "|---|---|---|---|---|---|---|---|")
    for folder in arguments.models:
        if arguments.engine is None:
            compare(folder, arguments.seeds)
            continue
        print_row(folder, "bf16, CPU engine", partial(render, arguments.engine, folder, "bf16"),
                  partial(render, arguments.engine, folder, "fp32"), arguments.seeds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
