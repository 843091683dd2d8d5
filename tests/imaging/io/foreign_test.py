"""Judges what imaging/ reads and writes with other people's libraries.

SimpleITK and nibabel read the same files and must see the same voxels in the same places; DICOM
series of every kind of fault are made with pydicom; PyTorch's anti-aliased resize is the reference
for synthvol-prepare.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SHARED = Path(os.environ["SYNTHVOL_SHARED_DIR"]) / "data"
CONVERT = Path(os.environ["SYNTHVOL_BUILD_DIR"]) / "tests" / "imaging_convert"
PREPARE = Path(os.environ["SYNTHVOL_BIN_DIR"]) / "synthvol-prepare"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"no real scans in {SHARED}"
)

VOLUMES = [
    "chest-ct/lidc-0001-dicom",
    "chest-ct/lidc-0314.mhd",
    "chest-ct/cptac-c3n-00249.nii.gz",
    "chest-ct/cmb-crc-01068.mha",
    "chest-ct/lung1-001.nrrd",
    "brain-mr/mni152-t1-1mm.nii.gz",
    "fixtures/volumes/3DCT_lung_baseline_small.mha",
    "fixtures/volumes/DataCropped.mha",
    "fixtures/volumes/PartSolidLesionCropped.mha",
    "fixtures/volumes/ct-64.nrrd",
    "fixtures/volumes/example_ct.nii.gz",
    "fixtures/volumes/scan_small.nii.gz",
]
# (size x y z, spacing, lowest and highest HU), as the data's README says.
EXPECTED = {
    "chest-ct/lidc-0001-dicom": ((512, 512, 133), (0.703, 0.703, 2.5), (-2048, 3071)),
    "chest-ct/lidc-0314.mhd": ((256, 256, 275), (1.563, 1.563, 1.0), (-1001, 1813)),
    "chest-ct/cptac-c3n-00249.nii.gz": (
        (512, 512, 102),
        (0.883, 0.883, 3.0),
        (-1024, 2855),
    ),
    "chest-ct/cmb-crc-01068.mha": ((512, 512, 100), (0.898, 0.898, 2.5), (-3024, 3071)),
    "chest-ct/lung1-001.nrrd": ((256, 256, 134), (1.953, 1.953, 3.0), (-1025, 2904)),
}


def convert(
    source: Path, target: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CONVERT, source, target, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def read_with_sitk(path: Path) -> sitk.Image:
    if path.is_dir():
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
        image = reader.Execute()
    else:
        image = sitk.ReadImage(str(path))
    return sitk.DICOMOrient(image, "LPS")


@needs_shared
@pytest.mark.parametrize("name", VOLUMES)
def test_reads_what_simpleitk_reads(name: str, tmp_path: Path) -> None:
    target = tmp_path / "ours.nii"
    done = convert(SHARED / name, target)
    assert done.returncode == 0, done.stderr
    ours = sitk.ReadImage(str(target))
    theirs = read_with_sitk(SHARED / name)
    np.testing.assert_array_equal(
        sitk.GetArrayViewFromImage(ours),
        sitk.GetArrayFromImage(theirs).astype(np.float32),
    )
    np.testing.assert_allclose(ours.GetSpacing(), theirs.GetSpacing(), rtol=1e-5)
    np.testing.assert_allclose(
        ours.GetOrigin(), theirs.GetOrigin(), rtol=1e-5, atol=2e-3
    )
    np.testing.assert_allclose(ours.GetDirection(), theirs.GetDirection(), atol=1e-3)
    if name in EXPECTED:
        size, spacing, extremes = EXPECTED[name]
        assert ours.GetSize() == size
        np.testing.assert_allclose(ours.GetSpacing(), spacing, atol=1e-3)
        voxels = sitk.GetArrayViewFromImage(ours)
        assert (voxels.min(), voxels.max()) == extremes


def make_volume(path: Path) -> tuple[np.ndarray, tuple[float, ...], tuple[float, ...]]:
    """Writes a small foreign MetaImage; returns its voxels [z, y, x], spacing and origin."""
    voxels = np.random.default_rng(7).integers(-1000, 1500, (5, 6, 7)).astype(np.int16)
    image = sitk.GetImageFromArray(voxels)
    spacing, origin = (0.7, 0.8, 2.5), (-11.0, 20.5, -300.0)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    sitk.WriteImage(image, str(path))
    return voxels, spacing, origin


@pytest.mark.parametrize("kind", ["int16", "float"])
@pytest.mark.parametrize("extension", ["nii", "nii.gz", "mhd", "npy"])
def test_others_read_what_we_write(extension: str, kind: str, tmp_path: Path) -> None:
    voxels, spacing, origin = make_volume(tmp_path / "in.mha")
    target = tmp_path / f"out.{extension}"
    assert convert(tmp_path / "in.mha", target, kind).returncode == 0
    dtype = np.dtype(np.int16 if kind == "int16" else np.float32)
    if extension == "npy":
        array = np.load(target)
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, voxels)
        assert target.stat().st_size == voxels.size * dtype.itemsize + 128
        return
    image = sitk.ReadImage(str(target))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), voxels)
    assert sitk.GetArrayFromImage(image).dtype == dtype
    np.testing.assert_allclose(image.GetSpacing(), spacing, rtol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), origin, rtol=1e-6)
    np.testing.assert_allclose(image.GetDirection(), np.eye(3).ravel(), atol=1e-6)
    if not extension.startswith("nii"):
        return
    nifti = nibabel.load(target)
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = [-origin[0], -origin[1], origin[2]]
    np.testing.assert_allclose(nifti.affine, affine, rtol=1e-6)
    np.testing.assert_allclose(nifti.get_qform(), affine, rtol=1e-6, atol=1e-6)
    assert nifti.header["sform_code"] == nifti.header["qform_code"] == 1
    assert nifti.get_data_dtype() == dtype
    np.testing.assert_array_equal(np.asarray(nifti.dataobj).transpose(2, 1, 0), voxels)


# --- DICOM series ---------------------------------------------------------------------------------


def ct_slice(index: int, series_uid: str, size: int = 8) -> Dataset:
    """Makes one axial CT slice, 2.5 mm apart, whose pixels hold 100 * index + column."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.SeriesInstanceUID = series_uid
    data.StudyInstanceUID = "1.2.3"
    data.PatientID, data.Modality = "P1", "CT"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.Rows = data.Columns = size
    data.PixelSpacing = [0.9, 0.8]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.ImagePositionPatient = [-10, -20, 2.5 * index]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = (
        16,
        16,
        15,
        0,
    )
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    pixels = np.tile(np.arange(size, dtype=np.uint16), (size, 1)) + np.uint16(
        100 * index
    )
    data.PixelData = pixels.tobytes()
    return data


def save(slices: list[Dataset], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(slices):
        data.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)


def series(count: int = 6) -> list[Dataset]:
    uid = generate_uid()
    return [ct_slice(index, uid) for index in range(count)]


def expected_voxels(count: int = 6) -> np.ndarray:
    z, _, x = np.meshgrid(np.arange(count), np.arange(8), np.arange(8), indexing="ij")
    return 100.0 * z + x - 1024.0


def shuffled(slices: list[Dataset]) -> list[Dataset]:
    return slices[::-1]


def with_duplicates(slices: list[Dataset]) -> list[Dataset]:
    return slices + slices[:3]


def with_duplicates_under_other_uids(slices: list[Dataset]) -> list[Dataset]:
    copy = slices[2].copy()
    copy.SOPInstanceUID = generate_uid()
    return [*slices, copy]


def with_empty_uids(slices: list[Dataset]) -> list[Dataset]:
    for data in slices:
        data.SOPInstanceUID = ""
        data.SeriesInstanceUID = "{8A7F2B1C-3D4E-4F5A}"
    return slices


def with_localizer(slices: list[Dataset]) -> list[Dataset]:
    scout = ct_slice(9, slices[0].SeriesInstanceUID, size=16)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return [scout, *slices]


def with_localizer_series(slices: list[Dataset]) -> list[Dataset]:
    scout = ct_slice(9, generate_uid(), size=16)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return [scout, *slices]


def signed_with_no_intercept(slices: list[Dataset]) -> list[Dataset]:
    for data in slices:
        stored = np.frombuffer(data.PixelData, np.uint16).astype(np.int16) - 1024
        data.PixelData = stored.astype(np.int16).tobytes()
        data.PixelRepresentation, data.RescaleIntercept = 1, 0
    return slices


@pytest.mark.parametrize(
    "change",
    [
        shuffled,
        with_duplicates,
        with_duplicates_under_other_uids,
        with_empty_uids,
        with_localizer,
        with_localizer_series,
        signed_with_no_intercept,
    ],
)
def test_survives_what_is_seen_in_the_wild(
    change: Callable[[list[Dataset]], list[Dataset]], tmp_path: Path
) -> None:
    save(change(series()), tmp_path / "in")
    done = convert(tmp_path / "in", tmp_path / "out.nii")
    assert done.returncode == 0, done.stderr
    image = sitk.ReadImage(str(tmp_path / "out.nii"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), expected_voxels())
    np.testing.assert_allclose(image.GetSpacing(), (0.8, 0.9, 2.5), rtol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), (-10, -20, 0), atol=1e-5)


def missing(slices: list[Dataset]) -> list[Dataset]:
    return slices[:2] + slices[4:]


def uneven(slices: list[Dataset]) -> list[Dataset]:
    slices[3].ImagePositionPatient = [-10, -20, 2.5 * 3 + 0.9]
    return slices


def tilted(slices: list[Dataset]) -> list[Dataset]:
    for index, data in enumerate(slices):
        data.ImagePositionPatient = [
            -10,
            -20 + index * 2.5 * np.tan(np.radians(12)),
            2.5 * index,
        ]
    return slices


def tilted_gantry_orientation(slices: list[Dataset]) -> list[Dataset]:
    cosine, sine = np.cos(np.radians(15)), np.sin(np.radians(15))
    for data in slices:
        data.ImageOrientationPatient = [1, 0, 0, 0, cosine, -sine]
    return slices


def two_series(slices: list[Dataset]) -> list[Dataset]:
    return slices + series()


def two_acquisitions(slices: list[Dataset]) -> list[Dataset]:
    second = ct_slice(2, slices[0].SeriesInstanceUID)
    second.PixelData = bytes(128)
    return [*slices, second]


def other_size(slices: list[Dataset]) -> list[Dataset]:
    return [*slices, ct_slice(6, slices[0].SeriesInstanceUID, size=16)]


def other_orientation(slices: list[Dataset]) -> list[Dataset]:
    slices[4].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    return slices


def without_position(slices: list[Dataset]) -> list[Dataset]:
    del slices[1].ImagePositionPatient
    return slices


def truncated_pixels(slices: list[Dataset]) -> list[Dataset]:
    slices[1].PixelData = slices[1].PixelData[:40]
    return slices


def one_slice(slices: list[Dataset]) -> list[Dataset]:
    return slices[:1]


def only_localizers(slices: list[Dataset]) -> list[Dataset]:
    for data in slices:
        data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return slices


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            missing,
            "missing slices: 7.50 mm between 001.dcm and 002.dcm (at 2.50 mm) where 2.50 mm is usual, about 2",
        ),
        (uneven, "unevenly spaced slices: 3.40 mm between 002.dcm and 003.dcm"),
        (tilted, "gantry tilt: slices are stacked 12.0 degrees off their normal"),
        (tilted_gantry_orientation, "15.0 degrees off"),
        (two_series, "holds 2 volumes; expected one:"),
        (
            two_acquisitions,
            "lies at the same place (5.00 mm) as 002.dcm with different pixels",
        ),
        (other_size, "16x16 pixels where"),
        (other_orientation, "Image Orientation differs"),
        (without_position, "no Image Position"),
        (truncated_pixels, "001.dcm: cannot "),
        (one_slice, "000.dcm: a single slice; expected a 3D volume"),
        (only_localizers, "only localizer images in this series"),
    ],
)
def test_refuses_a_faulty_series(
    change: Callable[[list[Dataset]], list[Dataset]], message: str, tmp_path: Path
) -> None:
    save(change(series()), tmp_path / "in")
    done = convert(tmp_path / "in", tmp_path / "out.nii")
    assert done.returncode == 1
    assert message in done.stderr
    assert str(tmp_path / "in") in done.stderr
    assert done.stderr.count("\n") == 1, "one line"
    assert not (tmp_path / "out.nii").exists()


# How far each re-encoding may be from the original: README of the fixtures.
SYNTAXES = {
    "1.2.840.10008.1.2.2": 0,
    "1.2.840.10008.1.2.1.99": 0,
    "1.2.840.10008.1.2.4.90": 0,
    "1.2.840.10008.1.2.4.91": 5,
    "1.2.840.10008.1.2.4.80": 0,
    "1.2.840.10008.1.2.4.81": 1,
    "1.2.840.10008.1.2.4.70": 0,
    "1.2.840.10008.1.2.4.57": 0,
    "1.2.840.10008.1.2.1": 0,
    "1.2.840.10008.1.2": 0,
    "1.2.840.10008.1.2.5": 0,
    "1.2.840.10008.1.2.4.50": None,
    "1.2.840.10008.1.2.4.51": None,
    "1.2.840.10008.1.2.4.53": None,
    "1.2.840.10008.1.2.4.55": None,
}


@needs_shared
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_transfer_syntaxes(syntax: str, tmp_path: Path) -> None:
    folder = SHARED / "fixtures/transfer-syntaxes"
    original = pydicom.dcmread(folder / "CTImage.dcm", force=True)
    reference = original.pixel_array * float(original.RescaleSlope) + float(
        original.RescaleIntercept
    )
    source = next(folder.glob(f"*_{syntax}.dcm"))
    for index in range(2):
        data = pydicom.dcmread(source, force=True)
        x, y, z = data.ImagePositionPatient
        data.ImagePositionPatient = [x, y, z + 2.0 * index]
        data.SOPInstanceUID = generate_uid()
        (tmp_path / "in").mkdir(exist_ok=True)
        data.save_as(tmp_path / "in" / f"{index}.dcm")
    done = convert(tmp_path / "in", tmp_path / "out.npy")
    tolerance = SYNTAXES[syntax]
    if (
        tolerance is None
    ):  # Other pixels than the original's: decoded, or refused by name.
        assert done.returncode == 0 or syntax in done.stderr
        return
    assert done.returncode == 0, done.stderr
    voxels = np.load(tmp_path / "out.npy")
    assert np.abs(voxels - reference).max() <= tolerance


# --- synthvol-prepare -----------------------------------------------------------------------------


def antialiased(volume: np.ndarray, size: int) -> np.ndarray:
    """Resizes [z, y, x] to a cube with PyTorch's anti-aliased bilinear filter, axis by axis."""
    tensor = torch.from_numpy(volume).double()
    planes = torch.nn.functional.interpolate(
        tensor[None],
        size=(size, size),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )[0]
    columns = planes.permute(1, 0, 2)[None]
    columns = torch.nn.functional.interpolate(
        columns, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )[0]
    return columns.permute(1, 0, 2).numpy()


def prepare(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(PREPARE), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_prepared_volume_is_what_pytorch_computes(tmp_path: Path) -> None:
    hu = np.random.default_rng(3).normal(-200, 600, (40, 60, 50)).astype(np.float32)
    hu[:3] = -2048  # blank: trimmed
    hu[-2:] = -1024
    hu[10, 5, 5] = np.nan
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((0.9, 0.8, 2.0))
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    done = prepare(
        "--input", tmp_path / "scan.nii.gz", "--output", tmp_path / "set", "--size", 24
    )
    assert done.returncode == 0, done.stderr
    item = json.loads((tmp_path / "set/manifest.json").read_text())["items"][0]
    kept = np.nan_to_num(hu, nan=-1024.0)[3:-2]
    unit = (np.clip(kept, -1024, 600) + 1024) / 812 - 1
    ours = np.load(tmp_path / "set" / item["file"]) / 32767
    np.testing.assert_allclose(ours, antialiased(unit, 24), atol=3e-5)
    np.testing.assert_allclose(
        item["spacing_mm"], [0.9 * 50 / 24, 0.8 * 60 / 24, 2.0 * 35 / 24], rtol=1e-6
    )


def test_percentile_window_for_mr(tmp_path: Path) -> None:
    values = np.random.default_rng(4).gamma(2.0, 300.0, (20, 20, 20)).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "t1.nrrd"))
    done = prepare(
        "--input",
        tmp_path / "t1.nrrd",
        "--output",
        tmp_path / "set",
        "--size",
        16,
        "--modality",
        "MR",
    )
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "set/manifest.json").read_text())
    assert manifest["window_rule"] == "percentile:0.5,99.5"
    expected = np.percentile(values, [0.5, 99.5], method="nearest")
    np.testing.assert_allclose(manifest["items"][0]["window"], expected, rtol=2e-2)


def test_skips_and_lists_what_it_cannot_read(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    save(series(20), scans / "good")
    save(tilted(series(20)), scans / "tilted")
    (scans / "broken.nii.gz").write_bytes(b"\x1f\x8b no gzip")
    (scans / "readme.txt").write_text("not a scan")
    done = prepare("--input", scans, "--output", tmp_path / "set", "--size", 16)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "set/manifest.json").read_text())
    assert [item["source"] for item in manifest["items"]] == [str(scans / "good")]
    assert manifest["items"][0]["patient"].startswith("patient-"), (
        "no Patient ID in a data set"
    )
    failures = {
        Path(failure["source"]).name: failure["reason"]
        for failure in manifest["failures"]
    }
    assert set(failures) == {"tilted", "broken.nii.gz"}
    assert "gantry tilt" in failures["tilted"]
    assert "skipped" in done.stderr and "tilted" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            ["--size", 16, "--output", "OUT"],
            2,
            "expected exactly one of --input and --phantom",
        ),
        (["--phantom", 1, "--size", 16], 2, "--output"),
        (
            ["--phantom", 1, "--size", 8, "--output", "OUT"],
            2,
            "--size: 8; expected 16..512",
        ),
        (["--phantom", -1, "--size", 16, "--output", "OUT"], 2, "--phantom"),
        (
            ["--phantom", 1, "--size", 16, "--output", "OUT", "--window", "600,-1024"],
            2,
            "--window",
        ),
        (
            ["--phantom", 1, "--size", 16, "--output", "OUT", "--split", "0"],
            2,
            "--split",
        ),
        (
            ["--phantom", 1, "--size", 16, "--output", "OUT", "--jobs", "0"],
            2,
            "--jobs: 0; expected 1..256",
        ),
        (
            ["--phantom", 1, "--size", 16, "--output", "OUT", "--modality", "PET"],
            2,
            "--modality: PET",
        ),
        (
            ["--input", "/nonexistent", "--size", 16, "--output", "OUT"],
            1,
            "/nonexistent: no such file or folder",
        ),
        (
            ["--input", "EMPTY", "--size", 16, "--output", "OUT"],
            1,
            "no scans found in the inputs",
        ),
        (
            ["--phantom", 1, "--size", 16, "--output", "/dev/null/x"],
            1,
            "/dev/null/x: cannot create",
        ),
        (
            ["--phantom", 1, "--size", 16, "--output", "FULL"],
            1,
            "exists with other content (photo.jpg)",
        ),
    ],
)
def test_bad_usage_is_named(
    arguments: list[object], status: int, message: str, tmp_path: Path
) -> None:
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "FULL").mkdir()
    (tmp_path / "FULL" / "photo.jpg").write_bytes(b"x")
    names = {
        "OUT": tmp_path / "OUT",
        "EMPTY": tmp_path / "EMPTY",
        "FULL": tmp_path / "FULL",
    }
    done = prepare(*[names.get(str(argument), argument) for argument in arguments])
    assert done.returncode == status
    assert message in done.stderr
    assert sorted(path.name for path in (tmp_path / "FULL").iterdir()) == ["photo.jpg"]
