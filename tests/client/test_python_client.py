"""The Python package's clients: against the server that misbehaves, and against the real one."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
import synthvol
from conftest import Server, StartServer, start_real_server, wait_until_serving
from synthvol.aio import AsyncClient

PATIENT = synthvol.RetryPolicy(max_attempts=50, initial_backoff=0.002, max_backoff=0.02)
HASTY = synthvol.RetryPolicy(max_attempts=3, initial_backoff=0.002, max_backoff=0.02)


def by_sync(
    address: str, retry: synthvol.RetryPolicy, seed: int, count: int, dicom: bool = False, digest: str = "sha256"
) -> list[object]:
    with synthvol.Client(address, retry=retry) as client:
        ask = client.generate_dicom if dicom else client.generate
        return list(ask("fake", seed, count, digest=digest))


def by_async(
    address: str, retry: synthvol.RetryPolicy, seed: int, count: int, dicom: bool = False, digest: str = "sha256"
) -> list[object]:
    async def run() -> list[object]:
        async with AsyncClient(address, retry=retry) as client:
            ask = client.generate_dicom if dicom else client.generate
            return [volume async for volume in ask("fake", seed, count, digest=digest)]

    return asyncio.run(run())


Ask = Callable[..., list[synthvol.Volume]]
BOTH = pytest.mark.parametrize("ask", [by_sync, by_async], ids=["sync", "async"])


def same(left: list[synthvol.Volume], right: list[synthvol.Volume]) -> bool:
    return [(v.seed, v.sha256, v.array.tobytes()) for v in left] == [
        (v.seed, v.sha256, v.array.tobytes()) for v in right
    ]


@BOTH
@pytest.mark.parametrize("fault", ["break", "break:0:1", "break:0:8:0.01", "end-early", "crc", "sha", "skip"])
def test_a_retry_cures_the_fault(fake_server: StartServer, ask: Ask, fault: str) -> None:
    expected = ask(fake_server().address, HASTY, 5, 2)
    kind, *rest = fault.split(":")
    for after in (0, 1, 4096, 8191, 8200):
        address = fake_server("--fault", ":".join([kind, str(after), *rest[1:]])).address
        assert same(ask(address, HASTY, 5, 2), expected), f"after {after} bytes"


@BOTH
@pytest.mark.parametrize("fault", ["", "break:5000:8:0.01", "crc:0", "sha:0", "skip:1"])
def test_crc32c_is_enough_when_that_is_the_digest(fake_server: StartServer, ask: Ask, fault: str) -> None:
    expected = ask(fake_server().address, HASTY, 5, 2)
    address = fake_server("--fault", fault).address if fault else fake_server().address
    volumes = ask(address, HASTY, 5, 2, digest="crc32c")
    assert [volume.array.tobytes() for volume in volumes] == [volume.array.tobytes() for volume in expected]
    assert [volume.sha256 for volume in volumes] == ["", ""]


def test_a_wrong_crc32c_of_a_volume_is_not_believed(fake_server: StartServer) -> None:
    once = synthvol.RetryPolicy(max_attempts=1)
    with pytest.raises(synthvol.SynthVolError, match="digest of volume 0"):
        by_sync(fake_server("--fault", "sha:0").address, once, 5, 1, digest="crc32c")


@BOTH
def test_a_call_is_done_once_its_last_trailer_is_here(fake_server: StartServer, ask: Ask) -> None:
    # Without another try: there is none that could be asked for.
    once = synthvol.RetryPolicy(max_attempts=1)
    assert same(ask(fake_server("--fault", "break:16384").address, once, 5, 2), ask(fake_server().address, once, 5, 2))


def test_closing_a_client_ends_its_calls_without_another_try(fake_server: StartServer) -> None:
    client = synthvol.Client(fake_server("--fault", "hang:100").address, retry=PATIENT)
    closing = threading.Timer(0.3, client.close)
    closing.start()
    with pytest.raises(synthvol.SynthVolError) as caught:
        list(client.generate("fake", 5, 1))
    assert caught.value.code == grpc.StatusCode.CANCELLED
    closing.join()


@BOTH
@pytest.mark.parametrize("code", [3, 5, 7, 8, 16])
def test_no_retry_after_a_final_error(fake_server: StartServer, ask: Ask, code: int) -> None:
    with pytest.raises(synthvol.SynthVolError, match="planned fault") as caught:
        ask(fake_server("--fault", f"break:100:{code}").address, PATIENT, 5, 1)
    assert caught.value.code.value[0] == code
    assert caught.value.reason == "PLANNED_FAULT"


@BOTH
@pytest.mark.parametrize("lie", ["seed", "geometry", "sha"])
def test_lies_are_not_believed(fake_server: StartServer, ask: Ask, lie: str) -> None:
    address = fake_server(*["--fault", lie] * 5).address
    with pytest.raises(synthvol.SynthVolError, match="given up after 3 attempts") as caught:
        ask(address, HASTY, 5, 1)
    assert caught.value.code == grpc.StatusCode.DATA_LOSS


@BOTH
def test_an_evil_file_name_is_refused(fake_server: StartServer, ask: Ask) -> None:
    with pytest.raises(synthvol.SynthVolError, match="file name"):
        ask(fake_server(*["--fault", "name"] * 5).address, HASTY, 5, 1, dicom=True)


@BOTH
def test_many_volumes_through_a_server_that_keeps_breaking(fake_server: StartServer, ask: Ask) -> None:
    broken = fake_server("--break-probability", "0.03").address
    assert same(ask(broken, PATIENT, 1000, 100), ask(fake_server().address, HASTY, 1000, 100))
    expected = ask(fake_server().address, HASTY, 3, 20, dicom=True)
    assert [v.files for v in ask(broken, PATIENT, 3, 20, dicom=True)] == [v.files for v in expected]


@BOTH
def test_fail_over_to_another_build_starts_the_volume_over(fake_server: StartServer, ask: Ask) -> None:
    first, second = fake_server("--fault", "break:9000").address, fake_server("--build", "fake+2").address
    volumes = ask(f"{first},{second}", PATIENT, 5, 3)
    assert [volume.header.build for volume in volumes] == ["fake+1", "fake+2", "fake+2"]
    assert same(volumes[1:], ask(second, PATIENT, 5, 3)[1:])


def test_leaving_the_loop_cancels(fake_server: StartServer) -> None:
    with synthvol.Client(fake_server("--delay-ms", "5", "--size", "64").address) as client:
        for volume in client.generate("fake", 0, 1000):
            assert volume.seed == 0
            break
        with pytest.raises(synthvol.SynthVolError) as caught:
            list(client.generate("fake", 0, 1000, timeout=0.3))
    assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed -1"),
        ({"seed": 1 << 32}, "seed 4294967296"),
        ({"count": 0}, "count 0"),
        ({"seed": (1 << 32) - 1, "count": 2}, "count 2"),
        ({"dtype": "uint8"}, "dtype 'uint8'"),
        ({"precision": "fp8"}, "precision 'fp8'"),
        ({"priority": "urgent"}, "priority 'urgent'"),
        ({"digest": "md5"}, "digest 'md5'"),
        ({"model": "@1"}, "NAME@VERSION"),
        ({"latent": [0.0], "mix": (1, 2, 0.5)}, "at most one"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, object], message: str) -> None:
    with synthvol.Client("127.0.0.1:1") as client, pytest.raises(ValueError, match=message):
        client.generate(**{"model": "fake", **arguments})


@pytest.mark.parametrize("endpoints", [[], ["host"], ["host:0"], ["http://host:1"], ["host:99999"]])
def test_bad_endpoints_are_refused(endpoints: list[str]) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        synthvol.Client(endpoints)


def test_volumes_of_the_real_server(real_server: Server) -> None:
    import SimpleITK

    with synthvol.Client(real_server.address) as client:
        assert [model.name for model in client.list_models()] == ["demo"]
        assert client.get_model("demo@1").size == 64
        assert client.status().build
        (volume,) = client.generate("demo", 42)
        (unit,) = client.generate("demo", 42, dtype="float32")
        (series,) = client.generate_dicom("demo", 42, dicom={"attributes": {"patient_id": "SYN42"}})
        with pytest.raises(synthvol.SynthVolError, match="NOT_FOUND"):
            client.get_model("other")
    assert volume.array.shape == (64, 64, 64) and volume.array.dtype == np.int16
    assert volume.sha256 == hashlib.sha256(volume.array.tobytes()).hexdigest()
    low, high = volume.header.window_low, volume.header.window_high
    assert np.abs((unit.array + 1) / 2 * (high - low) + low - volume.array).max() <= 0.51
    nifti, image = volume.to_nibabel(), volume.to_sitk()
    assert np.array_equal(np.asanyarray(nifti.dataobj).T, volume.array)
    assert np.array_equal(SimpleITK.GetArrayFromImage(image), volume.array)
    point = image.TransformIndexToPhysicalPoint((3, 5, 7))
    assert np.allclose((volume.affine_lps @ [3, 5, 7, 1])[:3], point)
    assert np.allclose((nifti.affine @ [3, 5, 7, 1])[:3], [-point[0], -point[1], point[2]])
    datasets = series.to_pydicom()
    assert len(datasets) == 64 and {dataset.PatientID for dataset in datasets} == {"SYN42"}
    ordered = sorted(datasets, key=lambda dataset: float(dataset.ImagePositionPatient[2]))
    pixels = np.stack([dataset.pixel_array * dataset.RescaleSlope + dataset.RescaleIntercept for dataset in ordered])
    assert np.array_equal(pixels, volume.array)


def test_the_asyncio_client_has_the_same_calls(real_server: Server) -> None:
    async def ask() -> tuple[list[str], list[synthvol.Volume], str]:
        async with AsyncClient(real_server.address) as client:
            names = [model.name for model in await client.list_models()]
            assert (await client.get_model("demo@1")).size == 64
            mixed = [volume async for volume in client.generate("demo", mix=(1, 2, 0.25))]
            return names, mixed, (await client.status()).build

    names, (mixed,), build = asyncio.run(ask())
    assert names == ["demo"]
    with synthvol.Client(real_server.address) as client:
        assert client.status().build == build
        (expected,) = client.generate("demo", mix=(1, 2, 0.25))
    assert mixed.sha256 == expected.sha256 and mixed.seed is None


def test_kill_9_of_the_real_server(model_repository: Path, real_server: Server, tmp_path: Path) -> None:
    doomed = start_real_server(model_repository, tmp_path / "log")
    wait_until_serving(doomed.address)
    with synthvol.Client([doomed.address, real_server.address]) as client:
        received = []
        for volume in client.generate("demo", 7, 20):
            received.append(volume)
            if len(received) == 3:
                doomed.kill()
    with synthvol.Client(real_server.address) as client:
        assert same(received, list(client.generate("demo", 7, 20)))


def test_chunks_on_the_wire_are_read_as_protobuf_reads_them() -> None:
    from synthvol._wire import Chunk, parse_response
    from synthvol.v1 import synthesis_pb2

    random = np.random.default_rng(4)
    for _ in range(300):
        fields = {
            "volume_index": int(random.integers(0, 1 << 32)),
            "offset": int(random.integers(0, 1 << 63)),
            "data": random.bytes(int(random.integers(0, 400))),
            "crc32c": int(random.integers(0, 1 << 32)),
            "slice_index": int(random.integers(0, 300)),
            "file_name": "IM0001.dcm" * int(random.integers(0, 2)),
            "last_of_file": bool(random.integers(0, 2)),
        }
        message = synthesis_pb2.SynthesizeResponse(chunk=synthesis_pb2.VolumeChunk(**fields))
        buffer = message.SerializeToString()
        chunk = parse_response(buffer)
        assert isinstance(chunk, Chunk)
        assert {name: getattr(chunk, name) for name in fields} == fields
        for size in range(1, len(buffer)):  # a part of a message is an error, never something else
            with pytest.raises(Exception, match="."):
                parse_response(buffer[:size])
    header = synthesis_pb2.SynthesizeResponse(header=synthesis_pb2.VolumeHeader(seed=4))
    assert parse_response(header.SerializeToString()) == header
