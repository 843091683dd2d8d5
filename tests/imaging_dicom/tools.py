"""What the DICOM tests share: the tools under test, and a folder of series in every storage and syntax."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

SYNTAXES = ["explicit", "implicit", "deflated", "rle", "jpegls"]
STORAGES = ["ct", "mr", "enhanced"]
SLICES = 24
# Debian 12's dicom3tools is of June 2022 and does not know Synthetic Data, which the standard has since then. It prints
# a line about that and still ends with 0; any other error ends with 1.
UNKNOWN_TO_DCIODVFY = "not a recognized standard attribute - (0x0008,0x001c)"


def build_dir() -> Path:
    return Path(os.environ["SYNTHVOL_BUILD_DIR"]).resolve()


def run(*command: str | Path, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs a command and shows its output when it fails although it should not."""
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=timeout)
    if check and result.returncode != 0:
        raise AssertionError(f"{command} ended with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result


@dataclass(frozen=True)
class Series:
    """A series on disk with the voxels that it must hold."""

    folder: Path

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.glob("IM*.dcm"))

    @property
    def voxels(self) -> npt.NDArray[np.int16]:
        voxels: npt.NDArray[np.int16] = np.load(self.folder / "volume.npy")
        return voxels

    @property
    def nifti(self) -> Path:
        return self.folder / "volume.nii"


def write_series(folder: Path, *options: str) -> Series:
    run(build_dir() / "tests" / "dicom_write_series", "--output", folder, *options)
    return Series(folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
