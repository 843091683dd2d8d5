#!/usr/bin/env python3
"""CRF-GAN and HA-GAN in plain eager PyTorch: the baseline that synthvol-train is measured against.

The networks and the iteration of DESIGN section 5, written the obvious way: upsampling, then convolution;
whole-volume encoding with all its activations; torch.optim.Adam. Prints one JSON object with seconds an
iteration and peak memory. The tests take its networks as an independent reference.

    bench/training/eager.py --arch crf-gan --size 64 --batch-size 2 --threads 2
    bench/training/eager.py --arch crf-gan --size 128 --device cuda --precision bf16
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

# An extent, or one an axis.
Size = int | tuple[int, int, int]


class SpectralNorm:
    """One power iteration from u0; the gradient treats the singular vectors as constants."""

    weight: Tensor
    u0: Tensor
    training: bool

    def normalised(self) -> Tensor:
        matrix = self.weight.reshape(self.weight.shape[0], -1)
        with torch.no_grad():
            right = F.normalize(self.u0 @ matrix, eps=1e-12)
            left = F.normalize(right @ matrix.t(), eps=1e-12)
            if self.training:
                self.u0.copy_(left)
        return self.weight / (right @ matrix.t() @ left.t()).squeeze()


class SNConv(nn.Conv3d, SpectralNorm):
    def __init__(self, cin: int, cout: int, kernel: Size, stride: Size = 1, padding: Size = 0) -> None:
        super().__init__(cin, cout, kernel, stride, padding)
        self.register_buffer("u0", torch.randn(1, cout))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv3d(x, self.normalised(), self.bias, self.stride, self.padding)


class SNLinear(nn.Linear, SpectralNorm):
    def __init__(self, cin: int, cout: int) -> None:
        super().__init__(cin, cout)
        self.register_buffer("u0", torch.randn(1, cout))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.normalised(), self.bias)


def add_stage(module: nn.Module, conv: str, norm: str, cin: int, cout: int, kernel: Size = 3, stride: Size = 1) -> None:
    module.add_module(conv, nn.Conv3d(cin, cout, kernel, stride, 1))
    module.add_module(norm, nn.GroupNorm(8, cout))


def run_stage(module: nn.Module, conv: str, norm: str, x: Tensor) -> Tensor:
    return F.relu(module.get_submodule(norm)(module.get_submodule(conv)(x)))


def up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2)


class SubGenerator(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        add_stage(self, "tp_conv1", "bn1", 2 * c, c)
        add_stage(self, "tp_conv2", "bn2", c, c // 2)
        self.tp_conv3 = nn.Conv3d(c // 2, 1, 3, 1, 1)

    def forward(self, h: Tensor) -> Tensor:
        h = run_stage(self, "tp_conv1", "bn1", h)
        h = run_stage(self, "tp_conv2", "bn2", h)
        return torch.tanh(self.tp_conv3(h))


class Generator(nn.Module):
    def __init__(self, size: int, ha: bool, c: int = 32, latent: int = 1024) -> None:
        super().__init__()
        self.size, self.c = size, c
        self.fc1 = nn.Linear(latent, 16 * c * 64)
        widths = [16 * c, 16 * c, 16 * c, 8 * c, 4 * c, 2 * c, c]
        for i in range(1, 7):
            add_stage(self, f"tp_conv{i}", f"bn{i}", widths[i - 1], widths[i])
        self.tp_conv7 = nn.Conv3d(c, 1, 3, 1, 1)
        if ha:
            self.sub_G = SubGenerator(c)

    def embed(self, z: Tensor) -> Tensor:
        h = self.fc1(z).view(-1, 16 * self.c, 4, 4, 4)
        h = run_stage(self, "tp_conv1", "bn1", h)
        h = run_stage(self, "tp_conv2", "bn2", up(h))
        h = run_stage(self, "tp_conv3", "bn3", up(h))
        h = run_stage(self, "tp_conv4", "bn4", up(h) if self.size >= 128 else h)
        return run_stage(self, "tp_conv5", "bn5", up(h) if self.size >= 256 else h)

    def render(self, h: Tensor) -> Tensor:
        h = run_stage(self, "tp_conv6", "bn6", up(h))
        return torch.tanh(self.tp_conv7(up(h)))

    def crop(self, embedding: Tensor, crop: int) -> Tensor:
        return embedding[:, :, crop // 4 : crop // 4 + self.size // 32]


class Discriminator(nn.Module):
    def __init__(self, size: int, ha: bool, c: int = 32) -> None:
        super().__init__()
        self.size = size
        w = 16 * c
        specs: list[tuple] = [
            ("conv1", w // 32, 4, 2, 1),
            ("conv2", w // 16, 4, 2, 1),
            ("conv3", w // 8, 4, 2, 1),
            ("conv4", w // 4, (2, 4, 4), 2, (0, 1, 1)),
            ("conv5", w // 2, (2, 4, 4), 2, (0, 1, 1)),
            ("conv6", w, (1, 4, 4), (1, 2, 2), (0, 1, 1)),
            ("conv7", w // 4, (1, 4, 4), 1, 0),
        ][{64: 2, 128: 1, 256: 0}[size] :]
        self.order = [spec[0] for spec in specs]
        cin = 1
        for name, cout, kernel, stride, padding in specs:
            self.add_module(name, SNConv(cin, cout, kernel, stride, padding))
            cin = cout
        self.fc1 = SNLinear(w // 4 + 1, w // 8)
        self.fc2 = SNLinear(w // 8, 1)
        if ha:
            self.sub_D = SubDiscriminator(size, w // 2)

    def forward(self, h: Tensor, small: Tensor | None, crop: int) -> Tensor:
        for name in self.order:
            h = F.leaky_relu(self.get_submodule(name)(h), 0.2)
        h = h.flatten(1)
        position = torch.full((h.shape[0], 1), crop / (self.size * 7 / 8), device=h.device)
        h = torch.cat([h, position], 1)
        logit = self.fc2(F.leaky_relu(self.fc1(h), 0.2))
        return logit if small is None else (logit + self.sub_D(small)) / 2


class SubDiscriminator(nn.Module):
    def __init__(self, size: int, w: int) -> None:
        super().__init__()
        widths = [("conv1", w // 8), ("conv2", w // 4), ("conv3", w // 2), ("conv4", w)]
        widths = widths[{64: 2, 128: 1, 256: 0}[size] :]
        self.order = [name for name, _ in widths]
        cin = 1
        for name, cout in widths:
            self.add_module(name, SNConv(cin, cout, 4, 2, 1))
            cin = cout
        self.conv5 = SNConv(cin, 1, 4)

    def forward(self, h: Tensor) -> Tensor:
        for name in self.order:
            h = F.leaky_relu(self.get_submodule(name)(h), 0.2)
        return self.conv5(h).view(-1, 1)


class HalfEncoder(nn.Module):
    def __init__(self, c: int = 32) -> None:
        super().__init__()
        add_stage(self, "conv1", "bn1", 1, c, 4, 2)
        add_stage(self, "conv2", "bn2", c, c)
        add_stage(self, "conv3", "bn3", c, 2 * c, 4, 2)

    def forward(self, h: Tensor) -> Tensor:
        for i in (1, 2, 3):
            h = run_stage(self, f"conv{i}", f"bn{i}", h)
        return h


class SubEncoder(nn.Module):
    def __init__(self, size: int, c: int = 32, latent: int = 1024) -> None:
        super().__init__()
        self.order = range({64: 3, 128: 2, 256: 1}[size], 5)
        cin = 2 * c
        for i in self.order:
            add_stage(self, f"conv{i}", f"bn{i}", cin, c * 2 ** (i - 1), 4, 2)
            cin = c * 2 ** (i - 1)
        self.conv5 = nn.Conv3d(cin, latent, 4)

    def forward(self, h: Tensor) -> Tensor:
        for i in self.order:
            h = run_stage(self, f"conv{i}", f"bn{i}", h)
        return self.conv5(h).flatten(1)


class CRF(nn.Module):
    def __init__(self, nodes: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.zeros(1, nodes, nodes))

    def forward(self, embedding: Tensor, logits: Tensor) -> Tensor:
        nodes = self.W.shape[1]
        features = embedding.reshape(embedding.shape[0], nodes, -1)
        norm = features.norm(dim=2, keepdim=True)
        cosine = features @ features.transpose(1, 2) / (norm @ norm.transpose(1, 2) + 1e-6)
        pairwise = cosine * (self.W + self.W.transpose(1, 2)) / 2
        unary = logits.unsqueeze(1).expand(-1, nodes, -1)
        refined = unary
        for _ in range(10):
            refined = unary + pairwise @ (2 * torch.sigmoid(refined) - 1)
        return refined.mean(1)


def small_of(images: Tensor) -> Tensor:
    return F.interpolate(images, scale_factor=0.25)


class Training:
    """The published iteration, each phase with its own Adam."""

    def __init__(self, arch: str, size: int, c: int = 32, latent: int = 1024, device: str = "cpu") -> None:
        self.ha = arch == "ha-gan"
        self.size, self.latent = size, latent
        self.nets: dict[str, nn.Module] = {
            "G": Generator(size, self.ha, c, latent),
            "D": Discriminator(size, self.ha, c),
            "E": HalfEncoder(c),
        }
        if self.ha:
            self.nets["S"] = SubEncoder(size, c, latent)
        else:
            self.nets["C"] = CRF(size // 4)
        for net in self.nets.values():
            net.to(device)
        rates = {"G": 1e-4, "D": 4e-4, "E": 1e-4, "C": 4e-4, "S": 1e-4}
        self.adam = {
            k: torch.optim.Adam(n.parameters(), lr=rates[k], betas=(0.0, 0.999)) for k, n in self.nets.items()
        }
        self.only("")

    def only(self, letter: str) -> None:
        for key, net in self.nets.items():
            net.requires_grad_(key == letter)

    def step(self, letter: str, loss: Tensor) -> None:
        loss.backward()
        self.adam[letter].step()
        self.adam[letter].zero_grad()

    def iteration(self, images: Tensor, noise: list[Tensor], crop: int, iteration: int) -> dict[str, float]:
        g, d, e = self.nets["G"], self.nets["D"], self.nets["E"]
        real = images[:, :, crop : crop + self.size // 8]
        small = small_of(images) if self.ha else None
        ones = torch.ones(images.shape[0], 1, device=images.device)
        bce = F.binary_cross_entropy_with_logits
        out: dict[str, Tensor] = {}

        def generate(z: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
            embedding = g.embed(z)
            return g.render(g.crop(embedding, crop)), g.sub_G(embedding) if self.ha else None, embedding

        self.only("D")
        out["d_real"] = bce(d(real, small, crop), ones)
        fake, fake_small, _ = generate(noise[0])
        out["d_fake"] = bce(d(fake, fake_small, crop), 0 * ones)
        self.step("D", out["d_real"] + out["d_fake"])

        self.only("G")
        fake, fake_small, embedding = generate(noise[1])
        logit = d(fake, fake_small, crop)
        if not self.ha:
            weight = max(0.5 - 0.5 / 60000 * iteration, 0)
            logit = self.nets["C"](embedding, logit) * weight + (1 - weight) * logit
        out["g"] = bce(logit, ones)
        self.step("G", out["g"])

        if not self.ha:
            self.only("C")
            fake, _, embedding = generate(noise[2])
            out["crf_fake"] = bce(self.nets["C"](embedding, d(fake, None, crop)), 0 * ones)
            out["crf_real"] = bce(self.nets["C"](e(images), d(real, None, crop)), ones)
            self.step("C", out["crf_real"] + out["crf_fake"])

        self.only("E")
        out["e"] = F.l1_loss(g.render(e(real)), real)
        self.step("E", out["e"])

        if self.ha:
            self.only("S")
            with torch.no_grad():
                parts = [e(part) for part in images.split(self.size // 8, dim=2)]
            rebuilt, rebuilt_small, _ = generate(self.nets["S"](torch.cat(parts, 2)))
            out["sub_e"] = (F.l1_loss(rebuilt, real) + F.l1_loss(rebuilt_small, small)) / 2
            self.step("S", out["sub_e"])
        return {key: value.item() for key, value in out.items()}


def peak_bytes(on_gpu: bool) -> int:
    """Returns the most memory held so far: of the GPU's allocator, or of the process."""
    if on_gpu:
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Runs the iterations asked for in this process and returns the figures."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    on_gpu = options.device == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    base = 0 if on_gpu else peak_bytes(on_gpu)
    training = Training(options.arch, options.size, options.channels, options.latent_dim, options.device)
    n, size = options.batch_size, options.size
    images = (torch.rand(n, 1, size, size, size) * 2 - 1).to(options.device)
    noise = [torch.randn(n, options.latent_dim).to(options.device) for _ in range(3)]
    times = []
    for i in range(options.iterations + 1):
        begin = time.perf_counter()
        with torch.autocast(options.device, torch.bfloat16, enabled=options.precision == "bf16"):
            # Ends with reading the losses, hence with all work done.
            training.iteration(images, noise, 11 * i % (size * 7 // 8 + 1), i)
        times.append(time.perf_counter() - begin)
    parameters = sum(p.numel() for net in training.nets.values() for p in net.parameters())
    largest = max(sum(p.numel() for p in net.parameters()) for net in training.nets.values())
    return {
        "what": "plain eager PyTorch " + torch.__version__,
        "arch": options.arch,
        "size": size,
        "batch_size": n,
        "threads": options.threads,
        "device": options.device,
        "precision": options.precision,
        "parameters": parameters,
        "seconds_per_iteration": min(times[1:]),
        "base_bytes": base,
        # Parameters, both moments, and the largest network's gradients.
        "state_bytes": 4 * (3 * parameters + largest),
        "peak_bytes": peak_bytes(on_gpu),
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=["crf-gan", "ha-gan"], default="crf-gan")
    parser.add_argument("--size", type=int, choices=[64, 128, 256], default=64)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--latent-dim", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=3, help="measured after one that warms up")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="bf16: under autocast")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    json.dump(measure(parse()), sys.stdout)
    print()
