"""generate and generate_dicom: the same arguments for the blocking and the asyncio client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

from synthvol._requests import synthesize_request
from synthvol.v1 import synthesis_pb2

# What a client hands out: an iterator or an asynchronous one, of Volume and of DicomSeries.
Volumes = TypeVar("Volumes")
SeriesVolumes = TypeVar("SeriesVolumes")


class Generates(Generic[Volumes, SeriesVolumes]):
    """A client's calls that make volumes, on top of its `synthesize`."""

    def synthesize(self, request: synthesis_pb2.SynthesizeRequest, *, timeout: float | None = None) -> Any:
        """Yields the volumes of a request message."""
        raise NotImplementedError

    def generate(
        self,
        model: str,
        seed: int = 0,
        count: int = 1,
        *,
        dtype: str = "int16",
        precision: str = "auto",
        priority: str = "normal",
        digest: str = "sha256",
        class_label: int | None = None,
        latent: Sequence[float] | None = None,
        mix: tuple[int, int, float] | None = None,
        timeout: float | None = None,
        request_id: str = "",
    ) -> Volumes:
        """Yields `count` volumes, volume i of seed + i, each as soon as it is whole and verified.

        `dtype` is "int16" (stored units, HU for CT) or "float32" ([-1, 1]). `class_label` is for models that have
        classes. `latent` gives explicit values, `mix` is (seed_a, seed_b, fraction); both with count 1. Leaving the
        loop cancels the call. `digest` is "sha256", or "crc32c" for less work at both ends: `sha256` of the volumes is
        empty then. Raises SynthVolError, and ValueError for a bad argument.
        """
        if dtype not in ("int16", "float32"):
            raise ValueError(f"dtype {dtype!r}: expected int16 or float32")
        request = synthesize_request(
            model, seed, count, format=dtype, precision=precision, priority=priority, digest=digest,
            class_label=class_label, latent=latent, mix=mix, request_id=request_id,
        )
        return cast(Volumes, self.synthesize(request, timeout=timeout))

    def generate_dicom(
        self,
        model: str,
        seed: int = 0,
        count: int = 1,
        *,
        precision: str = "auto",
        priority: str = "normal",
        digest: str = "sha256",
        class_label: int | None = None,
        dicom: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        request_id: str = "",
    ) -> SeriesVolumes:
        """Yields volumes as DICOM series, as `generate` does; `dicom` is DicomOptions as a dictionary."""
        request = synthesize_request(
            model, seed, count, format="dicom", precision=precision, priority=priority, digest=digest,
            class_label=class_label, dicom=dicom, request_id=request_id,
        )
        return cast(SeriesVolumes, self.synthesize(request, timeout=timeout))
