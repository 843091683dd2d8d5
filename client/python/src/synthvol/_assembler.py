"""Checks the messages of Synthesize streams and puts volumes together across broken ones. Knows no connection.

The same rules as the C++ client's StreamAssembler: order, CRC32C of each chunk, byte count and digests of each
volume; resume at the last whole slice with the version pinned; start a volume over when another model, build or
device class answers.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from synthvol._crc32c import concat_crc32c, crc32c
from synthvol._wire import Chunk
from synthvol.errors import DamagedStreamError
from synthvol.v1 import dicom_pb2, synthesis_pb2
from synthvol.volume import DicomSeries, Volume

_LARGEST_SIDE = 4096
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}\Z")
_DTYPES: dict[int, np.dtype[Any]] = {
    synthesis_pb2.VOLUME_FORMAT_INT16: np.dtype("<i2"),
    synthesis_pb2.VOLUME_FORMAT_FLOAT32: np.dtype("<f4"),
}


class Reopen(Exception):  # noqa: N818 (a signal, not an error)
    """The stream is of another build: open one from the first slice."""


class Assembler:
    """Feed it the messages of one stream after the other; it hands out whole volumes."""

    def __init__(self, request: synthesis_pb2.SynthesizeRequest) -> None:
        self._request = request
        self._dicom = request.format == synthesis_pb2.VOLUME_FORMAT_DICOM
        self._wants_sha256 = request.digest != synthesis_pb2.VOLUME_DIGEST_CRC32C
        self._volume = request.start_volume
        self._pinned_version = 0
        self._completed_bytes = 0
        self.high_water = 0
        # The volume in progress.
        self._header: synthesis_pb2.VolumeHeader | None = None
        self._array: npt.NDArray[Any] = np.empty(0, np.uint8)
        self._view = memoryview(b"")
        self._files: list[tuple[str, bytes]] = []
        self._held = 0  # bytes (raw) of the volume that are here
        self._dicom_bytes = 0
        # The stream in progress.
        self._in_volume = False
        self._offset = 0
        self._stream_bytes = 0
        self._stream_hash = hashlib.sha256()
        self._stream_crc32c = 0
        self._file: list[bytes] = []
        self._file_name = ""
        self._slice = 0

    @property
    def complete(self) -> bool:
        """Whether every volume was handed out."""
        return self._volume == self._request.count

    def check_complete(self) -> None:
        """Raises DamagedStreamError when a stream that has ended left something out."""
        if not self.complete:
            raise DamagedStreamError("it ended without the last volume's trailer")

    def next_request(self) -> synthesis_pb2.SynthesizeRequest:
        """Returns the request for what is missing, and forgets the stream before."""
        self._in_volume = False
        request = synthesis_pb2.SynthesizeRequest()
        request.CopyFrom(self._request)
        request.start_volume = self._volume
        request.start_slice = 0
        if self._header is not None:
            slices = 1 if self._enhanced else self._header.geometry.size[2]
            held = len(self._files) if self._dicom else self._held // self._slice_bytes
            # With everything here but the trailer, the last slice is asked for again to get one.
            request.start_slice = min(held, slices - 1)
        if self._pinned_version:
            request.model.version = self._pinned_version
        return request

    def consume(self, message: synthesis_pb2.SynthesizeResponse | Chunk) -> Volume | DicomSeries | None:
        """Takes the next message; returns a volume when it is the last of one.

        Raises DamagedStreamError, or Reopen when another build answered: open another stream then.
        """
        if isinstance(message, Chunk):
            self._on_chunk(message)
            return None
        part = message.WhichOneof("part")
        if part == "header":
            self._on_header(message.header)
            return None
        if part == "trailer":
            return self._on_trailer(message.trailer)
        raise DamagedStreamError("a message is neither header nor chunk nor trailer")

    @property
    def _enhanced(self) -> bool:
        return self._dicom and self._request.dicom.storage == dicom_pb2.DICOM_STORAGE_ENHANCED

    @property
    def _slice_bytes(self) -> int:
        assert self._header is not None
        return int(self._header.total_bytes // self._header.geometry.size[2])

    def _check_header(self, header: synthesis_pb2.VolumeHeader) -> None:
        if self._in_volume or self.complete:
            raise DamagedStreamError("a header that was not expected")
        if header.volume_index != self._volume:
            raise DamagedStreamError(f"header of volume {header.volume_index}, expected {self._volume}")
        if header.format != self._request.format:
            raise DamagedStreamError("header states another format")
        if self._request.HasField("seed") and header.seed != self._request.seed + self._volume:
            raise DamagedStreamError(f"header states another seed than {self._request.seed + self._volume}")
        geometry = header.geometry
        lengths = (len(geometry.size), len(geometry.spacing_mm), len(geometry.origin_mm), len(geometry.direction))
        if lengths != (3, 3, 3, 9) or not all(1 <= side <= _LARGEST_SIDE for side in geometry.size):
            raise DamagedStreamError("header without a sane geometry")
        if not self._dicom:
            expected = int(np.prod(geometry.size)) * _DTYPES[header.format].itemsize
            if header.total_bytes != expected:
                raise DamagedStreamError(f"header states {header.total_bytes} bytes, its geometry {expected}")

    def _restart_volume(self) -> None:
        self._header = None
        self._files, self._held, self._dicom_bytes = [], 0, 0

    def _on_header(self, header: synthesis_pb2.VolumeHeader) -> None:
        self._check_header(header)
        held = self._header
        if held is not None and _identity(held) != _identity(header):
            # What is here came from another model or build: its bytes and these do not mix.
            self._restart_volume()
            if header.start_slice > 0:
                raise Reopen
        if self._header is None:
            if header.start_slice > 0:
                raise DamagedStreamError("the stream skips slices that were asked for")
            self._header = synthesis_pb2.VolumeHeader()
            self._header.CopyFrom(header)
            if not self._dicom:
                x, y, z = header.geometry.size
                self._array = np.empty((z, y, x), _DTYPES[header.format])
                self._view = self._array.data.cast("B")
        self._pinned_version = header.model_version
        self._in_volume = True
        self._slice = header.start_slice
        self._offset = 0 if self._dicom else header.start_slice * self._slice_bytes
        if (self._slice > len(self._files)) if self._dicom else (self._offset > self._held):
            raise DamagedStreamError("the stream skips slices that were asked for")
        self._stream_bytes, self._stream_hash, self._file = 0, hashlib.sha256(), []
        self._stream_crc32c = 0

    def _on_chunk(self, chunk: Chunk) -> None:
        if not self._in_volume or chunk.volume_index != self._volume:
            raise DamagedStreamError("a chunk that was not expected")
        data = chunk.data
        size = len(data)
        # An enhanced file's chunks name the slices within the one file.
        other_file = self._dicom and not self._enhanced and chunk.slice_index != self._slice
        if size == 0 or chunk.offset != self._offset or other_file:
            raise DamagedStreamError(f"a chunk at offset {chunk.offset}, expected {self._offset}")
        if crc32c(data) != chunk.crc32c:
            raise DamagedStreamError(f"CRC32C of the chunk at offset {chunk.offset} does not match")
        if self._wants_sha256:
            self._stream_hash.update(data)
        else:
            self._stream_crc32c = concat_crc32c(self._stream_crc32c, chunk.crc32c, size)
        self._stream_bytes += size
        if self._dicom:
            self._take_file_part(chunk, data)
        else:
            if self._offset + size > len(self._view):
                raise DamagedStreamError("more bytes than the header states")
            # The same bytes again below `held`: a volume is a pure function of its request.
            self._view[self._offset : self._offset + size] = data
            self._offset += size
            self._held = max(self._held, self._offset)
        self.high_water = max(self.high_water, self._completed_bytes + self._held + self._dicom_bytes)

    def _take_file_part(self, chunk: Chunk, data: bytes) -> None:
        assert self._header is not None
        if chunk.offset == 0:
            if not _FILE_NAME.match(chunk.file_name):
                raise DamagedStreamError("a file name with other than letters, digits, '_', '-' and '.'")
            self._file_name, self._file = chunk.file_name, []
        self._file.append(data)
        self._offset += len(data)
        if not chunk.last_of_file:
            return
        if self._slice >= (1 if self._enhanced else self._header.geometry.size[2]):
            raise DamagedStreamError("more files than slices")
        if self._slice == len(self._files):
            self._files.append((self._file_name, b"".join(self._file)))
            self._dicom_bytes += self._offset
        self._slice, self._offset = self._slice + 1, 0

    def _on_trailer(self, trailer: synthesis_pb2.VolumeTrailer) -> Volume | DicomSeries:
        if not self._in_volume or trailer.volume_index != self._volume or self._header is None:
            raise DamagedStreamError("a trailer that was not expected")
        header = self._header
        files = 1 if self._enhanced else header.geometry.size[2]
        whole = len(self._files) == files if self._dicom else self._offset == header.total_bytes
        if not whole or not self._matches(trailer):
            # Which byte is wrong is unknown, so none of the volume is kept.
            self._restart_volume()
            raise DamagedStreamError(f"byte count or digest of volume {self._volume} does not match")
        volume = self._finish(header, trailer)
        self._completed_bytes += self._held + self._dicom_bytes
        self._volume += 1
        self._in_volume = False
        self._restart_volume()
        return volume

    def _matches(self, trailer: synthesis_pb2.VolumeTrailer) -> bool:
        if trailer.byte_count != self._stream_bytes:
            return False
        if self._wants_sha256:
            return bool(trailer.sha256 == self._stream_hash.digest())
        return trailer.HasField("crc32c") and trailer.crc32c == self._stream_crc32c

    def _finish(
        self, header: synthesis_pb2.VolumeHeader, trailer: synthesis_pb2.VolumeTrailer
    ) -> Volume | DicomSeries:
        seed = header.seed if header.HasField("seed") else None
        digest = trailer.sha256.hex() if self._wants_sha256 else ""
        if self._dicom:
            if self._wants_sha256 and trailer.byte_count != self._dicom_bytes:
                whole = hashlib.sha256()
                for _, content in self._files:
                    whole.update(content)
                digest = whole.hexdigest()
            return DicomSeries(seed, tuple(self._files), header, digest)
        if self._wants_sha256 and trailer.byte_count != header.total_bytes:
            digest = hashlib.sha256(self._view).hexdigest()
        geometry = header.geometry
        spacing, origin = tuple(geometry.spacing_mm), tuple(geometry.origin_mm)
        return Volume(
            array=self._array,
            seed=seed,
            spacing_mm=(spacing[0], spacing[1], spacing[2]),
            origin_mm=(origin[0], origin[1], origin[2]),
            direction=np.array(geometry.direction, np.float64).reshape(3, 3),
            header=header,
            sha256=digest,
        )


def _identity(header: synthesis_pb2.VolumeHeader) -> tuple[str, str, str, str, int]:
    return header.model_digest, header.build, header.device_class, header.plausibility, header.drawn_seed
