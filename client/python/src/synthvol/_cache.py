"""Volumes on local disk up to a bound of bytes; several processes may share a folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synthvol.v1 import synthesis_pb2


class VolumeCache:
    """Keeps arrays with their headers one file each; drops those used longest ago.

    A file is the header's length (8 bytes, little-endian), the serialised VolumeHeader, and the voxels. It appears
    only when whole, so that a reader never sees a part.
    """

    def __init__(self, folder: str | os.PathLike[str], max_bytes: int) -> None:
        if max_bytes < 1:
            raise ValueError(f"cache_bytes {max_bytes}: expected at least 1")
        self._folder = Path(folder)
        self._max_bytes = max_bytes
        self._folder.mkdir(parents=True, exist_ok=True)

    def _path(self, key: tuple[Any, ...]) -> Path:
        return self._folder / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.volume"

    def get(
        self, key: tuple[Any, ...], dtype: npt.DTypeLike
    ) -> tuple[npt.NDArray[Any], synthesis_pb2.VolumeHeader] | None:
        """Returns a read-only array [z, y, x] mapped from disk and its header, or None."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = synthesis_pb2.VolumeHeader.FromString(file.read(length))
            x, y, z = header.geometry.size
            array = np.memmap(path, dtype, mode="r", offset=8 + length, shape=(z, y, x))
            os.utime(path)
        except FileNotFoundError:
            return None
        return array, header

    def put(self, key: tuple[Any, ...], array: npt.NDArray[Any], header: synthesis_pb2.VolumeHeader) -> None:
        """Stores a volume, then drops the oldest ones past the bound. A volume larger than the bound is not stored."""
        if array.nbytes > self._max_bytes:
            return
        text = header.SerializeToString()
        descriptor, temporary = tempfile.mkstemp(dir=self._folder, prefix=".partial-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(len(text).to_bytes(8, "little") + text)
                file.write(np.ascontiguousarray(array).data)
            os.replace(temporary, self._path(key))
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        self._evict()

    def _evict(self) -> None:
        entries = []
        for path in self._folder.glob("*.volume"):
            with contextlib.suppress(FileNotFoundError):  # another process was quicker
                stat = path.stat()
                entries.append((stat.st_mtime_ns, stat.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self._max_bytes:
                break
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            total -= size
