"""The generator in plain eager PyTorch, as the authors released it: the yardstick of bench/inference.

Every layer is written as published (DESIGN section 5): nearest upsampling, convolution, GroupNorm,
ReLU, on whole volumes, contiguous tensors.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file


@dataclass
class EagerResult:
    """Seconds of the fastest run after a first one, CPU seconds of all threads a run, the volume, and the
    process's peak growth.
    """

    seconds: float
    cpu_seconds: float
    volume: torch.Tensor
    peak_bytes: int


class EagerGenerator:
    """The network of a checkpoint folder."""

    def __init__(self, folder: Path, size: int, device: str = "cpu") -> None:
        self.size = size
        self.weights = {k: v.to(device) for k, v in load_file(folder / "model.safetensors").items()}

    def _block(self, x: torch.Tensor, number: int, up: bool) -> torch.Tensor:
        if up:
            x = F.interpolate(x, scale_factor=2)
        w = self.weights
        x = F.conv3d(x, w[f"tp_conv{number}.weight"], w[f"tp_conv{number}.bias"], padding=1)
        return F.relu(F.group_norm(x, 8, w[f"bn{number}.weight"], w[f"bn{number}.bias"]))

    @torch.inference_mode()
    def __call__(self, latent: torch.Tensor) -> torch.Tensor:
        """Returns the volume [size, size, size] of a latent [1, latent_dim]."""
        w = self.weights
        x = F.linear(latent, w["fc1.weight"], w["fc1.bias"]).view(1, -1, 4, 4, 4)
        x = self._block(x, 1, up=False)
        x = self._block(x, 2, up=True)
        x = self._block(x, 3, up=True)
        x = self._block(x, 4, up=self.size >= 128)
        x = self._block(x, 5, up=self.size >= 256)
        x = self._block(x, 6, up=True)
        if self.size == 512:
            x = self._block(x, 8, up=True)
        return self._last(x)

    def _last(self, x: torch.Tensor) -> torch.Tensor:
        w = self.weights
        x = F.interpolate(x, scale_factor=2)
        x = F.conv3d(x, w["tp_conv7.weight"], w["tp_conv7.bias"], padding=1)
        return torch.tanh(x)[0, 0]


@dataclass
class GpuResult:
    """Seconds of the median run, the last copy to the host included; the volume; and the allocator's peak beyond
    the weights.
    """

    seconds: float
    volume: torch.Tensor
    peak_bytes: int


def measure_gpu(folder: Path, size: int, dim: int, seed: int, repeats: int, precision: str) -> GpuResult:
    """Times the network on a GPU: "fp32" strictly so, "tf32" as PyTorch does by default, "bf16" throughout."""
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    model = EagerGenerator(folder, size, "cuda")
    latent = latent_of(seed, dim).to("cuda")
    if precision == "bf16":
        model.weights = {name: value.bfloat16() for name, value in model.weights.items()}
        latent = latent.bfloat16()
    volume = model(latent).cpu()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        volume = model(latent).cpu()  # waits for all
        times.append(time.perf_counter() - begin)
    peak = torch.cuda.max_memory_allocated() - before
    return GpuResult(sorted(times)[repeats // 2], volume.float(), peak)


def latent_of(seed: int, dim: int) -> torch.Tensor:
    """Returns the latent of a seed, [1, dim]."""
    return torch.randn(1, dim, generator=torch.Generator().manual_seed(seed))


def measure(folder: Path, size: int, dim: int, seed: int, repeats: int) -> EagerResult:
    """Times the network on the CPU."""
    model = EagerGenerator(folder, size)
    latent = latent_of(seed, dim)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    volume = model(latent)
    times = []
    cpu_begin = time.process_time()
    for _ in range(repeats):
        begin = time.perf_counter()
        volume = model(latent)
        times.append(time.perf_counter() - begin)
    cpu_seconds = (time.process_time() - cpu_begin) / repeats
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return EagerResult(min(times), cpu_seconds, volume, peak)


def measure_sgemm(size: int = 4096, repeats: int = 3) -> float:
    """Returns the rate of a square float32 matrix product, FLOP/s."""
    a = torch.randn(size, size)
    b = torch.randn(size, size)
    torch.mm(a, b)
    best = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best
