"""What arrives: voxels with their place in the patient, or DICOM files."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from synthvol.v1 import synthesis_pb2


@dataclass(frozen=True, eq=False)
class Volume:
    """A synthetic volume. `array` is [z, y, x]: int16 in stored units (HU), or float32 in [-1, 1]."""

    array: npt.NDArray[Any]
    # None for volumes of explicit latents.
    seed: int | None
    # Along x, y, z, millimetres.
    spacing_mm: tuple[float, float, float]
    # LPS position of the centre of voxel (0, 0, 0), millimetres.
    origin_mm: tuple[float, float, float]
    # [3, 3] direction cosines in LPS; column k is the direction of axis k (x, y, z).
    direction: npt.NDArray[np.float64]
    # The header as it came: model, digest, build, class label, window, precision.
    header: synthesis_pb2.VolumeHeader
    # Hexadecimal, over the bytes of the volume; empty when the digest asked for is "crc32c".
    sha256: str

    @property
    def affine_lps(self) -> npt.NDArray[np.float64]:
        """[4, 4] from voxel (x, y, z) to LPS millimetres."""
        affine = np.eye(4)
        affine[:3, :3] = self.direction * np.asarray(self.spacing_mm)
        affine[:3, 3] = self.origin_mm
        return affine

    @property
    def affine_ras(self) -> npt.NDArray[np.float64]:
        """[4, 4] from voxel (x, y, z) to RAS millimetres, as NIfTI, MONAI and TorchIO have it."""
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.affine_lps

    def to_nibabel(self) -> Any:
        """Returns a nibabel.Nifti1Image (needs nibabel). Shares memory with `array`."""
        import nibabel

        image = nibabel.Nifti1Image(self.array.T, self.affine_ras)
        image.header.set_xyzt_units("mm")
        return image

    def to_sitk(self) -> Any:
        """Returns a SimpleITK.Image (needs SimpleITK)."""
        import SimpleITK

        image = SimpleITK.GetImageFromArray(self.array)
        image.SetSpacing(self.spacing_mm)
        image.SetOrigin(self.origin_mm)
        image.SetDirection(self.direction.ravel().tolist())
        return image


@dataclass(frozen=True)
class DicomSeries:
    """A synthetic volume as DICOM files (PS3.10), in slice order."""

    seed: int | None
    # Name and content of each file.
    files: tuple[tuple[str, bytes], ...]
    header: synthesis_pb2.VolumeHeader
    # Hexadecimal, over all files; empty when the digest asked for is "crc32c".
    sha256: str

    def to_pydicom(self) -> list[Any]:
        """Returns a pydicom.Dataset per file (needs pydicom)."""
        import pydicom

        return [pydicom.dcmread(io.BytesIO(content)) for _, content in self.files]
