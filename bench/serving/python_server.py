"""What one would write in a day: grpcio, eager PyTorch, pydicom. The yardstick of bench/serving/run.

Speaks the same API as synthvol-server, so that the same client measures both: one volume after another, rendered
whole, cut into 1 MiB chunks, or written slice by slice with pydicom.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import google_crc32c
import grpc
import numpy as np
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench/inference"))
sys.path.insert(0, str(ROOT / "tests/server/process"))

from eager import EagerGenerator, latent_of  # noqa: E402
from server_process import Api  # noqa: E402

CHUNK_BYTES = 1 << 20


def dicom_file(pixels: np.ndarray, index: int, series: str, study: str) -> bytes:
    """Returns one CT slice as a DICOM file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.Modality = "CT"
    data.PatientName = "Synthetic"
    data.PatientID = "SYNTHETIC"
    data.StudyInstanceUID = study
    data.SeriesInstanceUID = series
    data.InstanceNumber = index + 1
    data.ImagePositionPatient = [0, 0, index]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing = [1, 1]
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit = 15
    data.PixelRepresentation = 1
    data.RescaleSlope, data.RescaleIntercept = 1, 0
    data.PixelData = pixels.tobytes()
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


class Servicer:
    """SynthesisService over one model; requests beyond the threads of the pool wait in it."""

    def __init__(self, api: Api, folder: Path) -> None:
        self.pb = api.messages
        self.config = json.loads((folder / "config.json").read_text())
        self.size = int(self.config["size"])
        self.model = EagerGenerator(folder, self.size)
        # Two volumes at once would fight for the cores.
        self.lock = threading.Lock()

    def GetModel(self, request: Any, context: grpc.ServicerContext) -> Any:
        model = self.pb.Model(
            name=request.model.name, version=1, state=self.pb.MODEL_STATE_READY, digest="0" * 64, size=self.size
        )
        return self.pb.GetModelResponse(model=model)

    def ListModels(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self.pb.ListModelsResponse()

    def Synthesize(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        for index in range(request.count):
            with self.lock:
                volume = self.model(latent_of(request.seed + index, int(self.config["latent_dim"])))
            stored = ((volume + 1) * 812 - 1024).round().to(torch.int16).numpy()
            yield self._header(request, index)
            sha256, total = hashlib.sha256(), 0
            chunks = self._dicom(stored) if request.format == self.pb.VOLUME_FORMAT_DICOM else self._raw(stored)
            for chunk in chunks:
                sha256.update(chunk.data)
                total += len(chunk.data)
                chunk.volume_index = index
                chunk.crc32c = google_crc32c.value(chunk.data)
                yield self.pb.SynthesizeResponse(chunk=chunk)
            trailer = self.pb.VolumeTrailer(
                volume_index=index, byte_count=total, sha256=sha256.digest(), slice_count=self.size
            )
            yield self.pb.SynthesizeResponse(trailer=trailer)

    def _header(self, request: Any, index: int) -> Any:
        geometry = self.pb.VolumeGeometry(
            size=[self.size] * 3, spacing_mm=[1.0] * 3, origin_mm=[0.0] * 3, direction=[1, 0, 0, 0, 1, 0, 0, 0, 1]
        )
        raw = request.format != self.pb.VOLUME_FORMAT_DICOM
        header = self.pb.VolumeHeader(
            volume_index=index,
            seed=request.seed + index,
            model_name=request.model.name,
            model_version=1,
            format=request.format,
            geometry=geometry,
            total_bytes=self.size**3 * 2 if raw else 0,
        )
        return self.pb.SynthesizeResponse(header=header)

    def _raw(self, stored: np.ndarray) -> Iterator[Any]:
        data = stored.tobytes()
        slice_bytes = self.size * self.size * 2
        for offset in range(0, len(data), CHUNK_BYTES):
            piece = data[offset : offset + CHUNK_BYTES]
            yield self.pb.VolumeChunk(offset=offset, data=piece, slice_index=offset // slice_bytes)

    def _dicom(self, stored: np.ndarray) -> Iterator[Any]:
        series, study = generate_uid(), generate_uid()
        for i in range(self.size):
            data = dicom_file(stored[i], i, series, study)
            yield self.pb.VolumeChunk(data=data, slice_index=i, file_name=f"IM{i + 1:04}.dcm", last_of_file=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of config.json and model.safetensors")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    api = Api()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64))
    api.services.add_SynthesisServiceServicer_to_server(Servicer(api, arguments.model), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()
    return 0


if __name__ == "__main__":
    sys.exit(main())
