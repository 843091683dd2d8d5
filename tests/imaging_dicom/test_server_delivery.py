"""The server delivers by itself: DeliveryService and `synthvol push --destination` into a real Orthanc.

Complete, repeated, cancelled, through a server and through a PACS that die, refused, full, with storage commitment.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from orthanc import PASSWORD, USER, Orthanc
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]
from tools import free_port, run

sys.path.append(str(Path(__file__).resolve().parents[1] / "server/process"))
from server_process import BIN, Api, ServerProcess, write_model  # noqa: E402

SIZE = 64


class Receiver:
    """A storage SCP (pynetdicom) that answers every C-STORE with a status that may change."""

    def __init__(self, syntax: str = "1.2.840.10008.1.2.1", storage: str = CTImageStorage) -> None:
        self.status = 0x0000
        self.stored: set[str] = set()
        entity = AE("RECEIVER")
        entity.add_supported_context(storage, syntax)
        self.server = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self.on_store)]
        )
        self.port: int = self.server.socket.getsockname()[1]

    def on_store(self, event: evt.Event) -> int:
        if self.status == 0:
            self.stored.add(event.request.AffectedSOPInstanceUID)
        return self.status


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()


@pytest.fixture(scope="module")
def commitment_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, commitment_port: int) -> Iterator[Orthanc]:
    known = {"DicomModalities": {"synthvol": ["SYNTHVOL", "127.0.0.1", commitment_port]}}
    made = Orthanc(tmp_path_factory.mktemp("orthanc"), extra=known)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def pacs(orthanc: Orthanc) -> Orthanc:
    """The Orthanc, running and empty."""
    if orthanc.process is None:
        orthanc.start()
    for patient in orthanc.get("/patients"):
        run("curl", "-sf", "--noproxy", "*", "-u", f"{USER}:{PASSWORD}", "-X", "DELETE",
            f"{orthanc.root}/patients/{patient}")  # fmt: skip
    assert orthanc.counts() == (0, 0, 0)
    return orthanc


@pytest.fixture(scope="module")
def start(
    tmp_path_factory: pytest.TempPathFactory, orthanc: Orthanc, receiver: Receiver, commitment_port: int
) -> Callable[[], ServerProcess]:
    """Starts servers whose configuration names the destinations."""
    folder = tmp_path_factory.mktemp("server")
    write_model(folder / "models")
    (folder / "credentials").write_text(f"{USER}:{PASSWORD}\n")
    (folder / "wrong").write_text(f"{USER}:wrong\n")

    def c_store(title: str, port: int, **more: object) -> dict[str, Any]:
        return {"c_store": {"host": "127.0.0.1", "port": port, "called_ae_title": title, **more}}

    def stow(credentials: str) -> dict[str, Any]:
        return {"stow_rs": {"url": orthanc.web, "basic_credentials_file": str(folder / credentials)}}

    kinds = {
        "archive": c_store("ORTHANC", orthanc.dicom_port),
        "committing": c_store("ORTHANC", orthanc.dicom_port, storage_commitment=True, commitment_port=commitment_port),
        "web": stow("credentials"),
        "wrong-title": c_store("WRONG", orthanc.dicom_port),
        "wrong-password": stow("wrong"),
        "receiver": c_store("RECEIVER", receiver.port),
    }
    destinations = [{"name": name, "description": f"the {name}", **kind} for name, kind in kinds.items()]
    (folder / "config.json").write_text(json.dumps({"destinations": destinations}))
    return lambda: ServerProcess(folder / "models", "--config", str(folder / "config.json"))


@pytest.fixture(scope="module")
def server(start: Callable[[], ServerProcess]) -> Iterator[ServerProcess]:
    with start() as running:
        yield running


class Delivery:
    """Calls of DeliveryService."""

    def __init__(self) -> None:
        self._api = Api()  # generates the modules
        from synthvol.v1 import delivery_pb2, delivery_pb2_grpc, dicom_pb2

        self.messages, self.services, self.dicom = delivery_pb2, delivery_pb2_grpc, dicom_pb2

    def stub(self, server: ServerProcess) -> Any:  # noqa: ANN401
        return self.services.DeliveryServiceStub(grpc.insecure_channel(server.target))

    def begin(self, server: ServerProcess, destination: str, seed: int = 7, count: int = 1, **fields: object) -> Any:  # noqa: ANN401
        return self.stub(server).Deliver(
            self.messages.DeliverRequest(model={"name": "tiny"}, seed=seed, count=count, destination=destination,
                                         **fields),
            timeout=120,
        )  # fmt: skip

    def refused(self, server: ServerProcess, destination: str, **fields: object) -> tuple[grpc.RpcError, str, float]:
        """A delivery that must fail: its error, the reason, and the seconds after which to try again (0: never)."""
        with pytest.raises(grpc.RpcError) as caught:
            list(self.begin(server, destination, **fields))
        status = status_pb2.Status()
        status.ParseFromString(dict(caught.value.trailing_metadata())["grpc-status-details-bin"])
        info, delay = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        for detail in status.details:
            if not detail.Unpack(info):
                detail.Unpack(delay)
        return caught.value, info.reason, delay.retry_delay.seconds


@pytest.fixture(scope="module")
def delivery() -> Delivery:
    return Delivery()


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not come in {seconds} s"
        time.sleep(0.02)


def push(server: ServerProcess, destination: str, count: int = 1) -> list[str]:
    return [str(BIN / "synthvol"), "push", "--server", server.target, "--model", "tiny", "--seed", "7",
            "--count", str(count), "--destination", destination, "--json"]  # fmt: skip


@pytest.mark.parametrize("destination", ["archive", "web"])
def test_progress_and_repetition(delivery: Delivery, server: ServerProcess, pacs: Orthanc, destination: str) -> None:
    for _ in range(2):  # the second overwrites
        messages = list(delivery.begin(server, destination, count=2))
        assert [message.done for message in messages] == [False] * (len(messages) - 1) + [True]
        ends = [message for message in messages if message.series_instance_uid]
        assert [message.volume_index for message in ends] == [0, 1]
        assert all(message.instances_stored == message.instances_total == SIZE for message in ends)
        for volume in (0, 1):
            stored = [message.instances_stored for message in messages if message.volume_index == volume]
            assert stored == sorted(stored)
        assert pacs.counts() == (1, 2, 2 * SIZE)
        listed = {series["0020000E"]["Value"][0] for series in pacs.get("/dicom-web/series")}
        assert listed == {message.series_instance_uid for message in ends}


def test_the_pacs_has_the_volume_that_a_client_gets(
    delivery: Delivery, server: ServerProcess, pacs: Orthanc, tmp_path: Path
) -> None:
    run(BIN / "synthvol", "generate", "--server", server.target, "--model", "tiny", "--seed", "7", "--format", "npy",
        "--output", tmp_path / "npy")  # fmt: skip
    voxels = np.load(tmp_path / "npy/tiny-seed-000007.npy")
    list(
        delivery.begin(server, "archive", dicom={"transfer_syntax": delivery.dicom.DICOM_TRANSFER_SYNTAX_RLE_LOSSLESS})
    )
    datasets = pacs.retrieve()
    assert {dataset.file_meta.TransferSyntaxUID for dataset in datasets} == {"1.2.840.10008.1.2.5"}
    np.testing.assert_array_equal(np.stack([dataset.pixel_array for dataset in datasets]), voxels)


def test_push_names_a_destination(server: ServerProcess, pacs: Orthanc) -> None:
    for destination in ("web", "archive"):  # both ways meet in the same instances
        done = run(*push(server, destination, count=2), "--quiet")
        assert json.loads(done.stdout) == {"committed": 0, "instances": 2 * SIZE, "retries": 0, "volumes": 2}
        assert pacs.counts() == (1, 2, 2 * SIZE)
    unknown = run(*push(server, "nowhere"), check=False)
    assert unknown.returncode == 1 and "NOT_FOUND" in unknown.stderr and "'nowhere'" in unknown.stderr


def test_a_caller_that_leaves_and_comes_back(delivery: Delivery, server: ServerProcess, pacs: Orthanc) -> None:
    call = delivery.begin(server, "archive", count=3)
    for message in call:
        if message.volume_index == 1 and message.instances_stored:
            call.cancel()
            break
    assert SIZE < pacs.counts()[2] <= 3 * SIZE
    list(delivery.begin(server, "archive", count=3))
    assert pacs.counts() == (1, 3, 3 * SIZE)


def test_a_delivery_goes_on_at_a_volume(delivery: Delivery, server: ServerProcess, pacs: Orthanc) -> None:
    messages = list(delivery.begin(server, "archive", count=3, start_volume=2))
    assert {message.volume_index for message in messages} == {2} and messages[-1].done
    assert pacs.counts() == (1, 1, SIZE)
    list(delivery.begin(server, "archive", count=3))
    assert pacs.counts() == (1, 3, 3 * SIZE)


def test_a_server_that_dies_in_the_middle(
    delivery: Delivery, start: Callable[[], ServerProcess], pacs: Orthanc
) -> None:
    with start() as doomed, pytest.raises(grpc.RpcError):
        for message in delivery.begin(doomed, "archive", count=100):
            if message.volume_index == 2:
                doomed.process.kill()
    stored = pacs.counts()[2]
    assert 2 * SIZE <= stored < 100 * SIZE
    count = -(-stored // SIZE) + 1
    with start() as again:
        list(delivery.begin(again, "archive", count=count))
    assert pacs.counts() == (1, count, count * SIZE)


def test_a_pacs_that_dies_in_the_middle(server: ServerProcess, pacs: Orthanc) -> None:
    count = 6
    client = subprocess.Popen(push(server, "archive", count), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: pacs.counts()[2] > 0, "an instance")
    pacs.kill()
    pacs.start()
    summary, error = client.communicate(timeout=120)
    assert client.returncode == 0, error
    assert json.loads(summary)["volumes"] == count
    assert pacs.counts() == (1, count, count * SIZE)


def test_a_pacs_that_stays_away(delivery: Delivery, server: ServerProcess, pacs: Orthanc) -> None:
    pacs.kill()
    for destination in ("archive", "web"):
        error, reason, delay = delivery.refused(server, destination)
        assert error.code() == grpc.StatusCode.UNAVAILABLE and reason == "DESTINATION_UNAVAILABLE" and delay > 0
        assert f"'{destination}'" in error.details() and "127.0.0.1" not in error.details()
    done = run(*push(server, "archive"), "--retries", "0", check=False)
    assert done.returncode == 1 and "--start-volume 0 goes on from here" in done.stderr
    pacs.start()
    list(delivery.begin(server, "archive"))
    assert pacs.counts() == (1, 1, SIZE)


@pytest.mark.parametrize(
    ("destination", "told", "logged"),
    [
        ("wrong-title", "refused the association or the instances", 'called AE title "WRONG" is not known'),
        ("wrong-password", "does not accept the server's credentials", "HTTP 401"),
    ],
)
def test_a_refusal_is_told_and_logged(
    delivery: Delivery, server: ServerProcess, pacs: Orthanc, destination: str, told: str, logged: str
) -> None:
    error, reason, delay = delivery.refused(server, destination, request_id=f"ask-{destination}")
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION and reason == "DESTINATION_REFUSED" and not delay
    assert told in error.details() and f"ask-{destination}" in error.details()

    def lines() -> list[str]:
        found = [line for line in server.log if line["event"] == "delivery"]
        return [line["message"] for line in found if line["request_id"] == f"ask-{destination}"]

    wait_for(lines, "the log's line")
    assert logged in lines()[0]
    assert pacs.counts() == (0, 0, 0)


def test_a_full_destination(delivery: Delivery, server: ServerProcess, receiver: Receiver) -> None:
    receiver.status = 0xA700
    error, reason, delay = delivery.refused(server, "receiver")
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and reason == "DESTINATION_FULL" and delay > 0
    assert "has no room" in error.details()
    receiver.status = 0x0000  # somebody made room
    messages = list(delivery.begin(server, "receiver"))
    assert messages[-1].done and len(receiver.stored) == SIZE
    receiver.status = 0xA900
    error, reason, _ = delivery.refused(server, "receiver")
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION and reason == "DESTINATION_REFUSED"
    receiver.status = 0x0000


def test_storage_commitment(delivery: Delivery, server: ServerProcess, pacs: Orthanc) -> None:
    messages = list(delivery.begin(server, "committing"))
    assert messages[-1].done and messages[-1].committed
    assert pacs.counts() == (1, 1, SIZE)
    done = run(*push(server, "committing"), "--quiet")
    assert json.loads(done.stdout)["committed"] == 1
