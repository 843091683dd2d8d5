"""Writes a file of golden values with another salt, computed by the eager baseline (an implementation of
its own in Python), and asks synthvol-parity to agree; a damaged copy must be refused.

The hash, the inputs and the figures are those of shared/golden/README.md.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "bench" / "training"))
import eager  # noqa: E402

SALT = 77


def hash_uniform(stream: int, shape: list[int]) -> torch.Tensor:
    count = math.prod(shape)
    with np.errstate(over="ignore"):
        x = np.arange(count, dtype=np.uint64) + np.uint64((SALT << 48) + (stream << 32))
        x += np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    u = (x >> np.uint64(40)).astype(np.float64) / 2.0**23 - 1.0
    return torch.from_numpy(u.astype(np.float32)).view(shape)


def fill(training: eager.Training) -> list[list]:
    """Fills all weights by the rules; returns the list of parameters."""
    listed: list[list] = []
    for letter, net in training.nets.items():
        tensors = [*net.named_parameters(), *net.named_buffers()]
        for name, tensor in tensors:
            stream, shape = len(listed), list(tensor.shape)
            u = hash_uniform(stream, shape)
            leaf = name.split(".")[-1]
            if leaf == "u0":
                rule, value = "u", u
            elif ".bn" in "." + name:
                rule = "1+0.1*u" if leaf == "weight" else "0.1*u"
                value = 1 + 0.1 * u if leaf == "weight" else 0.1 * u
            elif leaf == "W":
                rule, value = "0.1*u", 0.1 * u
            else:
                weight = tensor if leaf == "weight" else net.get_parameter(name[:-4] + "weight")
                fan_in = math.prod(weight.shape[1:])
                rule = f"u*float32(1/sqrt({fan_in}))"
                value = u * float(np.float32(1 / math.sqrt(fan_in)))
            with torch.no_grad():
                tensor.copy_(value)
            listed.append([letter, name, shape, stream, rule])
    return listed


def probe(tensor: torch.Tensor) -> dict:
    flat = tensor.detach().flatten()
    index = torch.randint(0, flat.numel(), (16,), generator=torch.Generator().manual_seed(5))
    wide = flat.double()
    return {
        "shape": list(tensor.shape),
        "mean": wide.mean().item(),
        "abs_mean": wide.abs().mean().item(),
        "std": wide.std(unbiased=False).item(),
        "min": flat.min().item(),
        "max": flat.max().item(),
        "flat_index": index.tolist(),
        "value": flat[index].tolist(),
    }


def golden(arch: str, size: int, iterations: int) -> dict:
    training = eager.Training(arch, size)
    nets = training.nets
    out: dict = {"architecture": arch, "resolution": size, "salt": SALT, "batch_size": 2}
    out["parameters"] = fill(training)
    out["num_parameters"] = {k: sum(p.numel() for p in net.parameters()) for k, net in nets.items()}

    ramp = torch.linspace(-1, 1, size)
    ramps = ramp[:, None, None] + ramp[None, :, None] + ramp[None, None, :]
    images = 0.25 * hash_uniform(1000, [2, 1, size, size, size]) + 0.25 * ramps

    def noise(stream: int) -> torch.Tensor:
        return hash_uniform(stream, [2, 1024]) * 1.7320508

    for net in nets.values():
        net.eval()
    crop = out["forward_crop"] = size // 2
    with torch.no_grad():
        g, d = nets["G"], nets["D"]
        embedding = g.embed(noise(1001))
        out["generator_full"] = probe(g.render(embedding[:1]))
        sub = g.render(g.crop(embedding, crop))
        out["generator_sub"] = probe(sub)
        small = g.sub_G(embedding) if training.ha else None
        if small is None:
            out["embedding"] = probe(embedding)
        else:
            out["generator_small"] = probe(small)
        real = images[:, :, crop : crop + size // 8]
        fake_logit = d(sub, small, crop)
        out["discriminator_fake_logit"] = fake_logit.flatten().tolist()
        real_small = eager.small_of(images) if training.ha else None
        out["discriminator_real_logit"] = d(real, real_small, crop).flatten().tolist()
        if not training.ha:
            out["crf_fake_logit"] = nets["C"](embedding, fake_logit).flatten().tolist()
            given = torch.tensor([[0.75], [-2.0]])
            out["crf_given_logits"] = {
                "logits": given.tolist(),
                "out": nets["C"](embedding, given).flatten().tolist(),
            }
        out["encoder"] = probe(nets["E"](real))

    for net in nets.values():
        net.train()
    out["training"] = []
    for i in range(iterations):
        crop = (37 * i + 11) % (7 * size // 8 + 1)
        streams = [noise(2000 + 10 * i + k) for k in range(3)]
        losses = training.iteration(images, streams, crop, i)
        out["training"].append({"iteration": i, "crop": crop, **losses})
    out["after_training"] = {
        k: {"sumsq": sum(p.double().square().sum().item() for p in net.parameters())}
        for k, net in nets.items()
    }
    return out


def parity(path: Path) -> subprocess.CompletedProcess[str]:
    binary = Path(os.environ["SYNTHVOL_BIN_DIR"]) / "synthvol-parity"
    return subprocess.run([binary, path], capture_output=True, text=True, timeout=280)


def main() -> int:
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        for arch, size in (("crf-gan", 64), ("ha-gan", 64)):
            path = Path(folder) / f"{arch}-{size}.json"
            figures = golden(arch, size, iterations=1)
            path.write_text(json.dumps(figures))
            done = parity(path)
            bad = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
            assert done.returncode == 0, (arch, size, bad, done.stderr)
            print(done.stdout.splitlines()[-1])

        figures["parameters"][0][3] += 1000  # another stream: an altered first layer
        path.write_text(json.dumps(figures))
        assert parity(path).returncode == 1, "an altered layer must fail"
        path.write_text('{"architecture": "crf-gan"}')
        done = parity(path)
        assert done.returncode == 1 and "not a file of golden values" in done.stderr, done.stderr
    return 0


if __name__ == "__main__":
    sys.exit(main())
