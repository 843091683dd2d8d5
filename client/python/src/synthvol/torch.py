"""PyTorch datasets that are fed by a synthvol server (needs torch)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed
import torch.utils.data

from synthvol._cache import VolumeCache
from synthvol._options import ClientOptions
from synthvol.client import Client
from synthvol.volume import Volume

Item = Any


class SeedSet:
    """A set of seeds kept as sorted, disjoint ranges: compact however many there are."""

    def __init__(self, ranges: Iterable[Sequence[int]] = ()) -> None:
        self._ranges: list[tuple[int, int]] = []
        for begin, end in ranges:
            self.add(begin, end)

    def add(self, begin: int, end: int | None = None) -> None:
        """Adds [begin, end), or one seed."""
        end = begin + 1 if end is None else end
        if end <= begin:
            return
        kept = []
        for low, high in self._ranges:
            if high < begin or low > end:
                kept.append((low, high))
            else:
                begin, end = min(begin, low), max(end, high)
        self._ranges = sorted([*kept, (begin, end)])

    def missing(self, begin: int, end: int) -> list[tuple[int, int]]:
        """Returns the ranges of [begin, end) that are not in the set."""
        gaps, position = [], begin
        for low, high in self._ranges:
            if high <= position or low >= end:
                continue
            if low > position:
                gaps.append((position, low))
            position = max(position, high)
        if position < end:
            gaps.append((position, end))
        return gaps

    def ranges(self) -> list[list[int]]:
        """Returns the ranges as lists, fit for JSON."""
        return [[low, high] for low, high in self._ranges]


def _part(ranges: list[tuple[int, int]], index: int, count: int) -> list[tuple[int, int]]:
    """Returns the index-th of `count` parts of some ranges: disjoint, no gap, sizes differ by at most one."""
    total = sum(end - begin for begin, end in ranges)
    low, high = total * index // count, total * (index + 1) // count
    part, position = [], 0
    for begin, end in ranges:
        first, last = max(low - position, 0), min(high - position, end - begin)
        if first < last:
            part.append((begin + first, begin + last))
        position += end - begin
    return part


class SynthVolIterableDataset(torch.utils.data.IterableDataset[Item]):
    """Volumes of a seed range, each seed exactly once over all ranks and DataLoader workers.

    A rank takes a fixed part of the range, its workers share what of it is not consumed yet. An item is
    `transform(volume)`, by default {"image": float tensor [1, z, y, x], "seed": int}.

    Resuming: `mark_consumed` in the training loop (or iterate without workers, which marks by itself), then
    `state_dict` / `load_state_dict`; the number of workers may change between, the number of ranks not.
    In a DataLoader with workers use a "forkserver" or "spawn" context if this process has talked to a server before:
    gRPC does not survive a fork.
    """

    def __init__(
        self,
        options: ClientOptions | str,
        model: str,
        seeds: range,
        *,
        dtype: str = "float32",
        precision: str = "auto",
        class_label: int | Callable[[int], int] | None = None,
        transform: Callable[[Volume], Item] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_bytes: int = 1 << 30,
        volumes_per_request: int = 8,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        """`class_label` may be a function of the seed; `rank` and `world_size` default to torch.distributed's."""
        super().__init__()
        if seeds.step != 1:
            raise ValueError(f"seeds {seeds}: expected a range of step 1")
        if volumes_per_request < 1:
            raise ValueError(f"volumes_per_request {volumes_per_request}: expected at least 1")
        self._options = options if isinstance(options, ClientOptions) else ClientOptions(options)
        self._model = model
        self._seeds = seeds
        self._dtype = dtype
        self._precision = precision
        self._class_label = class_label
        self._transform = transform if transform is not None else to_tensor
        self._cache_place = None if cache_dir is None else (os.fspath(cache_dir), cache_bytes)
        self._volumes_per_request = volumes_per_request
        self._rank = rank
        self._world_size = world_size
        self._consumed = SeedSet()

    def state_dict(self) -> dict[str, Any]:
        """Returns which seeds of this rank were consumed."""
        return {"version": 1, "seeds": [self._seeds.start, self._seeds.stop], "consumed": self._consumed.ranges()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where a state was taken. ValueError for the state of another seed range."""
        if state.get("seeds") != [self._seeds.start, self._seeds.stop]:
            raise ValueError(f"state of seeds {state.get('seeds')}, this dataset has {self._seeds}")
        self._consumed = SeedSet(state["consumed"])

    def mark_consumed(self, seeds: Iterable[int]) -> None:
        """Notes seeds that the training loop got from a DataLoader with workers."""
        for seed in seeds:
            self._consumed.add(int(seed))

    def reset(self) -> None:
        """Forgets what was consumed: the next epoch."""
        self._consumed = SeedSet()

    def __len__(self) -> int:
        """Returns the seeds of this rank, consumed or not."""
        rank, world_size = self._place()
        return sum(end - begin for begin, end in _part([(self._seeds.start, self._seeds.stop)], rank, world_size))

    def _place(self) -> tuple[int, int]:
        if self._rank is not None and self._world_size is not None:
            return self._rank, self._world_size
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))

    def _my_ranges(self) -> list[tuple[int, int]]:
        rank, world_size = self._place()
        mine = []
        for begin, end in _part([(self._seeds.start, self._seeds.stop)], rank, world_size):
            mine.extend(self._consumed.missing(begin, end))
        worker = torch.utils.data.get_worker_info()
        return mine if worker is None else _part(mine, worker.id, worker.num_workers)

    def __iter__(self) -> Iterator[Item]:
        """Yields the items of this rank and worker."""
        with Client(self._options) as client:
            for volume in self._volumes(client):
                item = self._transform(volume)
                assert volume.seed is not None
                self._consumed.add(volume.seed)
                yield item

    def _label(self, seed: int) -> int | None:
        return self._class_label(seed) if callable(self._class_label) else self._class_label

    def _volumes(self, client: Client) -> Iterator[Volume]:
        if self._cache_place is None:
            for begin, end in self._my_ranges():
                yield from self._fetch(client, begin, end, self._model)
            return
        cache = VolumeCache(*self._cache_place)
        # The digest is in the key: a retrained model under the same name is another one.
        model = client.get_model(self._model)
        pinned = f"{model.name}@{model.version}"
        numpy_type = "<f4" if self._dtype == "float32" else "<i2"
        for begin, end in self._my_ranges():
            for seed in range(begin, end):
                key = (model.digest, seed, self._dtype, self._precision, self._label(seed))
                hit = cache.get(key, numpy_type)
                if hit is not None:
                    yield _from_cache(*hit)
                    continue
                for volume in self._fetch(client, seed, seed + 1, pinned):
                    cache.put(key, volume.array, volume.header)
                    yield volume

    def _fetch(self, client: Client, begin: int, end: int, model: str) -> Iterator[Volume]:
        while begin < end:
            label, stop = self._label(begin), begin + 1
            while stop < min(end, begin + self._volumes_per_request) and self._label(stop) == label:
                stop += 1
            yield from client.generate(
                model, begin, stop - begin, dtype=self._dtype, precision=self._precision, class_label=label,
                digest="crc32c",
            )
            begin = stop


def _from_cache(array: Any, header: Any) -> Volume:
    spacing, origin = tuple(header.geometry.spacing_mm), tuple(header.geometry.origin_mm)
    return Volume(
        array=array,
        seed=header.seed,
        spacing_mm=(spacing[0], spacing[1], spacing[2]),
        origin_mm=(origin[0], origin[1], origin[2]),
        direction=np.array(header.geometry.direction, np.float64).reshape(3, 3),
        header=header,
        sha256="",
    )


def to_tensor(volume: Volume) -> dict[str, Any]:
    """Returns {"image": float tensor [1, z, y, x], "seed": int}, and "class_label" when the volume has one."""
    image = torch.from_numpy(np.array(volume.array, np.float32)).unsqueeze(0)
    item: dict[str, Any] = {"image": image, "seed": volume.seed}
    if volume.header.HasField("class_label"):
        item["class_label"] = volume.header.class_label
    return item


class MixedDataset(torch.utils.data.IterableDataset[Item]):
    """Synthetic items of an iterable dataset with items of a real one between them, in an exact ratio.

    Of any n items in a row, n * synthetic_fraction (to within one) are synthetic. Real items are shuffled, each worker
    and rank takes its own, and they begin anew when they run out; the end comes with the synthetic ones.
    """

    def __init__(
        self,
        synthetic: SynthVolIterableDataset,
        real: torch.utils.data.Dataset[Item],
        synthetic_fraction: float,
        *,
        shuffle_seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0.0 < synthetic_fraction <= 1.0:
            raise ValueError(f"synthetic_fraction {synthetic_fraction}: expected more than 0 and at most 1")
        self._synthetic = synthetic
        self._real = real
        self._fraction = synthetic_fraction
        self._shuffle_seed = shuffle_seed

    def _real_items(self) -> Iterator[Item]:
        rank, world_size = self._synthetic._place()
        worker = torch.utils.data.get_worker_info()
        part, parts = (rank, world_size) if worker is None else (
            rank * worker.num_workers + worker.id, world_size * worker.num_workers
        )
        size = len(self._real)  # type: ignore[arg-type]
        if size < parts:
            raise ValueError(f"real: {size} items for {parts} workers; expected at least one each")
        epoch = 0
        while True:
            order = np.random.default_rng([self._shuffle_seed, epoch]).permutation(size)
            for index in order[part::parts]:
                yield self._real[int(index)]
            epoch += 1

    def __iter__(self) -> Iterator[Item]:
        """Yields items until the synthetic ones are used up."""
        real = self._real_items()
        count = 0
        for item in self._synthetic:
            # Item number n is synthetic when n * fraction passes a whole number.
            while int((count + 1) * self._fraction + 1e-9) == int(count * self._fraction + 1e-9):
                count += 1
                yield next(real)
            count += 1
            yield item
