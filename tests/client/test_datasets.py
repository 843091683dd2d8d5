"""The PyTorch datasets and the MONAI and TorchIO adapters, under real DataLoaders."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import StartServer
from synthvol import Client, ClientOptions
from synthvol.adapters import to_monai, to_torchio
from synthvol.torch import MixedDataset, SeedSet, SynthVolIterableDataset
from torch.utils.data import DataLoader, Dataset

# Workers fork from a server that has imported torch but never talked to gRPC: quick, and safe.
multiprocessing.set_forkserver_preload(["synthvol.torch"])


def seeds_of(loader: DataLoader) -> list[int]:
    return [int(seed) for batch in loader for seed in batch["seed"]]


def test_each_seed_once_over_two_ranks_and_several_workers(fake_server: StartServer) -> None:
    address = fake_server("--break-probability", "0.01").address
    seen: list[int] = []
    for rank in range(2):
        dataset = SynthVolIterableDataset(address, "fake", range(100, 147), rank=rank, world_size=2)
        loader = DataLoader(dataset, batch_size=4, num_workers=3, multiprocessing_context="forkserver")
        got = seeds_of(loader)
        assert len(got) == len(dataset)
        seen += got
    assert sorted(seen) == list(range(100, 147))


def test_items_are_the_volumes(fake_server: StartServer) -> None:
    address = fake_server().address
    with Client(address) as client:
        expected = {v.seed: v.array for v in client.generate("fake", 3, 4, dtype="float32")}
    for item in SynthVolIterableDataset(address, "fake", range(3, 7), volumes_per_request=3):
        assert item["image"].shape == (1, 16, 16, 16)
        assert np.array_equal(item["image"][0].numpy(), expected[item["seed"]], equal_nan=True)


@pytest.mark.parametrize("workers_after", [0, 2])
def test_resuming_gives_each_seed_once(fake_server: StartServer, workers_after: int) -> None:
    address = fake_server().address
    dataset = SynthVolIterableDataset(address, "fake", range(50))
    loader = DataLoader(dataset, batch_size=5, num_workers=3, multiprocessing_context="forkserver")
    before: list[int] = []
    for batch in loader:
        before += batch["seed"].tolist()
        dataset.mark_consumed(batch["seed"].tolist())
        if len(before) >= 20:
            break
    state = dataset.state_dict()
    resumed = SynthVolIterableDataset(address, "fake", range(50))
    resumed.load_state_dict(state)
    context = "forkserver" if workers_after else None
    after = seeds_of(DataLoader(resumed, batch_size=4, num_workers=workers_after, multiprocessing_context=context))
    assert sorted(before + after) == list(range(50))
    with pytest.raises(ValueError, match="another seed range|this dataset has"):
        SynthVolIterableDataset(address, "fake", range(49)).load_state_dict(state)


def test_without_workers_the_dataset_marks_by_itself(fake_server: StartServer) -> None:
    dataset = SynthVolIterableDataset(fake_server().address, "fake", range(10))
    first = [item["seed"] for _, item in zip(range(4), dataset, strict=False)]
    rest = [item["seed"] for item in dataset]
    assert sorted(set(first + rest)) == list(range(10)) and len(rest) == 6


def test_the_cache_serves_again_and_keeps_its_bound(fake_server: StartServer, tmp_path: Path) -> None:
    server = fake_server()
    options = ClientOptions(server.address)
    volume_bytes = 16**3 * 4

    def items(size: int) -> list[torch.Tensor]:
        dataset = SynthVolIterableDataset(options, "fake", range(8), cache_dir=tmp_path, cache_bytes=size)
        return [item["image"] for item in dataset]

    first = items(5 * volume_bytes)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 5 * volume_bytes
    second = items(100 * volume_bytes)
    assert len(list(tmp_path.glob("*.volume"))) == 8
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.volume")}
    contents = {path: path.read_bytes() for path in tmp_path.glob("*.volume")}
    third = items(100 * volume_bytes)
    assert all(path.stat().st_mtime_ns > times[path] for path in times), "a hit renews a file's age"
    assert contents == {path: path.read_bytes() for path in tmp_path.glob("*.volume")}
    for left, middle, right in zip(first, second, third, strict=True):
        assert torch.equal(left.nan_to_num(), middle.nan_to_num())
        assert torch.equal(left.nan_to_num(), right.nan_to_num())


class RealScans(Dataset):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict[str, object]:
        if index >= len(self):
            raise IndexError(index)
        return {"image": torch.zeros(1, 16, 16, 16), "seed": -1 - index}


@pytest.mark.parametrize("fraction", [1.0, 0.5, 0.25, 0.7])
def test_mixing_keeps_the_ratio(fake_server: StartServer, fraction: float) -> None:
    synthetic = SynthVolIterableDataset(fake_server().address, "fake", range(21))
    seeds = [item["seed"] for item in MixedDataset(synthetic, RealScans(), fraction)]
    assert [seed for seed in seeds if seed >= 0] == list(range(21))
    for length in range(1, len(seeds) + 1):
        count = sum(seed >= 0 for seed in seeds[:length])
        assert abs(count - length * fraction) <= 1
    real = [seed for seed in seeds if seed < 0]
    assert len(set(real[:6])) == min(6, len(real)), "all real items before any comes again"


def test_seed_sets() -> None:
    seeds = SeedSet([[5, 7], [1, 2]])
    seeds.add(2)
    seeds.add(7, 9)
    assert seeds.ranges() == [[1, 3], [5, 9]]
    assert seeds.missing(0, 12) == [(0, 1), (3, 5), (9, 12)]
    assert seeds.missing(5, 9) == []


def test_monai_and_torchio(fake_server: StartServer) -> None:
    address = fake_server().address
    pytest.importorskip("monai")
    pytest.importorskip("torchio")
    with Client(address) as client:
        (volume,) = client.generate("fake", 2)
    item = next(iter(SynthVolIterableDataset(address, "fake", range(2, 3), dtype="int16", transform=to_monai)))
    image = item["image"]
    assert image.shape == (1, 16, 16, 16) and np.allclose(image.affine.numpy(), volume.affine_ras)
    assert image[0, 3, 4, 5] == volume.array[5, 4, 3]
    subject = to_torchio(volume)
    assert np.allclose(subject.image.affine, volume.affine_ras)
    assert subject.image.data[0, 3, 4, 5] == volume.array[5, 4, 3]
