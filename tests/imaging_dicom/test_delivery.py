"""Deliveries into a real Orthanc by C-STORE and STOW-RS: complete, repeated, interrupted, refused, by TLS."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pydicom
import pytest
from orthanc import PASSWORD, USER, Certificates, Orthanc, make_certificates
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel  # type: ignore[attr-defined]
from tools import SLICES, build_dir, free_port, run, write_series

TOOL = build_dir() / "tests" / "dicom_store_series"
CREDENTIALS = ["--user", USER, "--password", PASSWORD]
SYNTAXES = {
    "explicit": "1.2.840.10008.1.2.1",
    "implicit": "1.2.840.10008.1.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "rle": "1.2.840.10008.1.2.5",
    "jpegls": "1.2.840.10008.1.2.4.80",
}


def store(*options: str, check: bool = True) -> tuple[int, str, dict[str, object]]:
    """Runs a delivery; returns exit status, stderr and the last progress."""
    result = run(TOOL, *options, check=check)
    lines = result.stdout.splitlines()
    return result.returncode, result.stderr, json.loads(lines[-1]) if lines else {}


def delete_all(orthanc: Orthanc) -> None:
    for patient in orthanc.get("/patients"):
        run("curl", "-sf", "--noproxy", "*", "-u", f"{USER}:{PASSWORD}", "-X", "DELETE",
            f"{orthanc.root}/patients/{patient}")  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    orthanc = Orthanc(tmp_path_factory.mktemp("orthanc"))
    orthanc.start()
    yield orthanc
    orthanc.kill()


@pytest.fixture
def pacs(server: Orthanc) -> Orthanc:
    delete_all(server)
    assert server.counts() == (0, 0, 0)
    return server


@pytest.fixture(scope="module")
def voxels(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return write_series(tmp_path_factory.mktemp("expected")).voxels


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Orthanc]:
    orthanc = Orthanc(tmp_path_factory.mktemp("secure"), tls=certificates)
    orthanc.start()
    yield orthanc
    orthanc.kill()


def expect_whole(orthanc: Orthanc, voxels: np.ndarray, syntax: str = "explicit") -> None:
    assert orthanc.counts() == (1, 1, SLICES)
    datasets = orthanc.retrieve()
    assert {dataset.file_meta.TransferSyntaxUID for dataset in datasets} == {SYNTAXES[syntax]}
    np.testing.assert_array_equal(np.stack([dataset.pixel_array for dataset in datasets]), voxels)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_c_store_and_repeat(pacs: Orthanc, voxels: np.ndarray, syntax: str) -> None:
    _, _, progress = store("--to", pacs.ae, "--syntax", syntax)
    assert progress == {"stored": SLICES, "retries": 0, "committed": False}
    expect_whole(pacs, voxels, syntax)
    store("--to", pacs.ae, "--syntax", syntax)
    assert pacs.counts() == (1, 1, SLICES)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_stow_and_repeat(pacs: Orthanc, voxels: np.ndarray, syntax: str) -> None:
    _, _, progress = store("--to", pacs.web, "--syntax", syntax, *CREDENTIALS)
    assert progress["stored"] == SLICES
    expect_whole(pacs, voxels, syntax)
    store("--to", pacs.web, "--syntax", syntax, *CREDENTIALS)
    assert pacs.counts() == (1, 1, SLICES)


def test_both_ways_meet_in_one_series(pacs: Orthanc, voxels: np.ndarray) -> None:
    store("--to", pacs.ae)
    store("--to", pacs.web, *CREDENTIALS)
    expect_whole(pacs, voxels)


@pytest.mark.parametrize("way", ["c-store", "stow"])
def test_enhanced(pacs: Orthanc, voxels: np.ndarray, way: str) -> None:
    to = ["--to", pacs.ae] if way == "c-store" else ["--to", pacs.web, *CREDENTIALS]
    store(*to, "--enhanced", "--syntax", "rle")
    assert pacs.counts() == (1, 1, 1)
    (dataset,) = pacs.retrieve()
    np.testing.assert_array_equal(dataset.pixel_array, voxels)


def test_dcmtk_storescu_delivers_our_files(pacs: Orthanc, tmp_path: Path) -> None:
    series = write_series(tmp_path)
    run("storescu", "-aec", "ORTHANC", "127.0.0.1", str(pacs.dicom_port), *series.files)
    assert pacs.counts() == (1, 1, SLICES)


def test_part_then_whole(pacs: Orthanc, voxels: np.ndarray) -> None:
    store("--to", pacs.ae, "--slices", "7")
    assert pacs.counts() == (1, 1, 7)
    store("--to", pacs.ae)
    expect_whole(pacs, voxels)


def start_slowly(*options: str) -> subprocess.Popen[str]:
    """Starts a delivery with pauses and returns once instances were acknowledged."""
    process = subprocess.Popen(
        [str(TOOL), *options, "--pause", "0.04"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(4):
        process.stdout.readline()
    return process


def test_pacs_dies_and_comes_back(tmp_path: Path, voxels: np.ndarray) -> None:
    orthanc = Orthanc(tmp_path / "orthanc")
    orthanc.start()
    try:
        # Without patience: a clear error, and a repetition that completes the series.
        process = start_slowly("--to", orthanc.ae, "--attempts", "1")
        orthanc.kill()
        _, error = process.communicate(timeout=30)
        assert process.returncode == 1
        assert error.startswith(f"store_series: {orthanc.ae}: ") and error.count("\n") == 1, error
        orthanc.start()
        assert 0 < orthanc.counts()[2] < SLICES
        # With patience: the delivery outlives the PACS.
        process = start_slowly("--to", orthanc.ae, "--attempts", "12", "--backoff", "0.3")
        orthanc.kill()
        orthanc.start()
        output, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        progress = json.loads(output.splitlines()[-1])
        assert progress["stored"] == SLICES and progress["retries"] > 0
        expect_whole(orthanc, voxels)
    finally:
        orthanc.kill()


class Relay:
    """Passes TCP to a port; cuts the first connections after some bytes, or ends TLS as a reverse proxy does."""

    def __init__(
        self, target: int, *, cut_after: int = 0, cuts: int = 0, certificates: Certificates | None = None
    ) -> None:
        self.target, self.cut_after, self.cuts = target, cut_after, cuts
        self.tls: ssl.SSLContext | None = None
        if certificates:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(certificates.certificate, certificates.key)
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            limit = self.cut_after if self.connections < self.cuts else None
            self.connections += 1
            threading.Thread(target=self.relay, args=(client, limit), daemon=True).start()

    def relay(self, client: socket.socket, limit: int | None) -> None:
        if self.tls:
            try:
                client = self.tls.wrap_socket(client, server_side=True)
            except OSError:  # the client did not like our certificate
                return
        upstream = socket.create_connection(("127.0.0.1", self.target))
        threading.Thread(target=self.pump, args=(upstream, client, None), daemon=True).start()
        self.pump(client, upstream, limit)

    def pump(self, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                sink.sendall(data)
                passed += len(data)
                if limit is not None and passed >= limit:
                    break
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.listener.close()


@pytest.mark.parametrize("way", ["c-store", "stow"])
def test_connection_breaks_in_the_middle(pacs: Orthanc, voxels: np.ndarray, way: str) -> None:
    c_store = way == "c-store"
    relay = Relay(pacs.dicom_port if c_store else pacs.http_port, cut_after=30_000, cuts=2)
    to = f"ORTHANC@127.0.0.1:{relay.port}" if c_store else f"http://127.0.0.1:{relay.port}/dicom-web"
    options = ["--to", to, "--associations", "1", *([] if c_store else CREDENTIALS)]
    status, error, _ = store(*options, "--attempts", "1", check=False)
    assert status == 1 and to in error and error.count("\n") == 1, error
    _, _, progress = store(*options)
    assert progress["retries"] == 1 and progress["stored"] == SLICES
    relay.close()
    expect_whole(pacs, voxels)


def test_refusals_are_clear_and_final(pacs: Orthanc) -> None:
    cases = [
        (["--to", pacs.ae.replace("ORTHANC", "WRONG")], 'called AE title "WRONG" is not known'),
        (["--to", pacs.web], "HTTP 401"),
        (["--to", pacs.web, "--user", USER, "--password", "wrong"], "HTTP 401"),
        (["--to", pacs.web + "/nowhere", *CREDENTIALS], "HTTP 404"),
        (["--to", f"A@127.0.0.1:{pacs.http_port}", "--timeout", "1", "--attempts", "1"], "A@127.0.0.1"),
        (["--to", f"http://127.0.0.1:{free_port()}/dicom-web", "--attempts", "2"], "(2 attempts)"),
        (["--to", f"A@127.0.0.1:{free_port()}", "--attempts", "2"], "Connection refused"),
        (["--to", "A@no-such-host.invalid:104", "--attempts", "1"], "no-such-host.invalid"),
    ]
    for options, expected in cases:
        begun = time.monotonic()
        status, error, progress = store(*options, check=False)
        assert status == 1 and expected in error and error.count("\n") == 1, (options, error)
        if "401" in expected or "AE title" in expected:
            assert not progress.get("retries"), "what does not pass is not tried again"
        assert time.monotonic() - begun < 15
    assert pacs.counts() == (0, 0, 0)


def test_bad_destinations_are_bad_usage() -> None:
    for to in ["", "PACS", "@h:1", "A@h", "A@h:0", "A@h:65536", "TITLE_TOO_LONG_17@h:1", "A\\B@h:1", "A@-h:1",
               "ftp://h/", "https://", "https://u:p@h/", "https://h/?q", "https://h/a b", "A@h h:1"]:  # fmt: skip
        status, error, _ = store("--to", to, check=False)
        assert status == 2 and "expected" in error and error.count("\n") == 1, (to, status, error)


class StorageScp:
    """A small SCP (pynetdicom) that answers as told: what Orthanc cannot be made to do at will."""

    def __init__(self, answers: list[int], accept: list[str] | None = None, calling: str = "") -> None:
        self.answers = answers
        self.stored: dict[str, pydicom.Dataset] = {}
        self.port = free_port()
        self.entity = AE("SCP")
        self.entity.add_supported_context(CTImageStorage, accept or list(SYNTAXES.values()))
        if calling:
            self.entity.require_calling_aet = [calling]
        self.server = self.entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self.on_store)]
        )

    def on_store(self, event: evt.Event) -> int:
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status in (0x0000, 0xB000):
            dataset = event.dataset
            dataset.file_meta = event.file_meta
            self.stored[dataset.SOPInstanceUID] = dataset
        return status


@pytest.fixture
def scp() -> Iterator[type[StorageScp]]:
    made: list[StorageScp] = []

    class Tracked(StorageScp):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            made.append(self)

    yield Tracked
    for each in made:
        each.server.shutdown()


def test_full_destination(scp: type[StorageScp]) -> None:
    full = scp([0x0000, 0x0000, 0xA700])
    status, error, progress = store(
        "--to", f"SCP@127.0.0.1:{full.port}", "--associations", "1", "--attempts", "3", check=False
    )
    assert status == 1 and "0xA700: out of resources (3 attempts)" in error
    assert progress == {"stored": 2, "retries": 2, "committed": False}
    full.answers = [0xA700, 0x0000]  # somebody made room
    _, _, progress = store("--to", f"SCP@127.0.0.1:{full.port}", "--associations", "1")
    assert progress["retries"] == 1 and len(full.stored) == SLICES


def test_answers_of_c_store(scp: type[StorageScp]) -> None:
    warned = scp([0xB000])
    assert store("--to", f"SCP@127.0.0.1:{warned.port}")[2]["stored"] == SLICES
    refusals = {0xA900: "does not match SOP class", 0xC123: "cannot understand", 0x0124: "not authorized"}
    for code, expected in refusals.items():
        refusing = scp([code])
        status, error, progress = store("--to", f"SCP@127.0.0.1:{refusing.port}", check=False)
        assert status == 1 and f"0x{code:04X}: " in error and expected in error
        assert not progress.get("retries")


def test_unknown_calling_title(scp: type[StorageScp]) -> None:
    strict = scp([0x0000], calling="SOMEBODY")
    status, error, _ = store("--to", f"SCP@127.0.0.1:{strict.port}", check=False)
    assert status == 1 and 'our AE title "SYNTHVOL" is not known there' in error
    store("--to", f"SCP@127.0.0.1:{strict.port}", "--calling", "SOMEBODY")
    assert len(strict.stored) == SLICES


@pytest.mark.parametrize("syntax", ["deflated", "rle", "jpegls"])
def test_falls_back_to_implicit(scp: type[StorageScp], voxels: np.ndarray, syntax: str) -> None:
    plain = scp([0x0000], accept=[SYNTAXES["implicit"]])
    store("--to", f"SCP@127.0.0.1:{plain.port}", "--syntax", syntax)
    datasets = sorted(plain.stored.values(), key=lambda dataset: int(dataset.InstanceNumber))
    assert {dataset.file_meta.TransferSyntaxUID for dataset in datasets} == {SYNTAXES["implicit"]}
    np.testing.assert_array_equal(np.stack([dataset.pixel_array for dataset in datasets]), voxels)


def test_storage_class_not_accepted() -> None:
    entity = AE("SCP")
    entity.add_supported_context("1.2.840.10008.1.1")  # verification only
    port = free_port()
    server = entity.start_server(("127.0.0.1", port), block=False)
    try:
        status, error, _ = store("--to", f"SCP@127.0.0.1:{port}", check=False)
        assert status == 1 and "1.2.840.10008.5.1.4.1.1.2" in error
    finally:
        server.shutdown()


def test_commitment_by_orthanc(tmp_path: Path) -> None:
    port = free_port()
    orthanc = Orthanc(tmp_path / "orthanc", extra={"DicomModalities": {"synthvol": ["SYNTHVOL", "127.0.0.1", port]}})
    orthanc.start()
    try:
        _, _, progress = store("--to", orthanc.ae, "--commitment", "20", "--commitment-port", str(port))
        assert progress == {"stored": SLICES, "retries": 0, "committed": True}
    finally:
        orthanc.kill()


@pytest.mark.parametrize("failed", [0, 1])
def test_commitment_on_our_association(failed: int) -> None:
    entity = AE("SCP")
    entity.add_supported_context(CTImageStorage, SYNTAXES["explicit"])
    entity.add_supported_context(StorageCommitmentPushModel)
    port = free_port()

    def on_action(event: evt.Event) -> tuple[int, None]:
        request = event.action_information

        def report() -> None:
            time.sleep(0.3)
            answer = pydicom.Dataset()
            answer.TransactionUID = request.TransactionUID
            items = list(request.ReferencedSOPSequence)
            answer.ReferencedSOPSequence = pydicom.Sequence(items[failed:])
            if failed:
                for item in items[:failed]:
                    item.FailureReason = 0x0110
                answer.FailedSOPSequence = pydicom.Sequence(items[:failed])
            event.assoc.send_n_event_report(
                answer, 2 if failed else 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"
            )

        threading.Thread(target=report, daemon=True).start()
        return 0x0000, None

    server = entity.start_server(
        ("127.0.0.1", port),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, lambda event: 0x0000), (evt.EVT_N_ACTION, on_action)],
    )
    try:
        status, error, progress = store("--to", f"SCP@127.0.0.1:{port}", "--commitment", "10", check=False)
    finally:
        server.shutdown()
    if failed:
        assert status == 1 and "storage commitment failed" in error
    else:
        assert status == 0 and progress["committed"] is True, error


def test_commitment_not_offered(scp: type[StorageScp]) -> None:
    plain = scp([0x0000])
    _, _, progress = store("--to", f"SCP@127.0.0.1:{plain.port}", "--commitment", "5")
    assert progress == {"stored": SLICES, "retries": 0, "committed": False}


@pytest.fixture(scope="module")
def proxy(secure: Orthanc, certificates: Certificates) -> Iterator[str]:
    relay = Relay(secure.http_port, certificates=certificates)
    yield f"https://127.0.0.1:{relay.port}/dicom-web"
    relay.close()


def test_tls(secure: Orthanc, proxy: str, certificates: Certificates, voxels: np.ndarray) -> None:
    ca = ["--ca", str(certificates.ca)]
    store("--to", secure.ae, "--tls", *ca)
    expect_whole(secure, voxels)
    store("--to", secure.ae.replace("127.0.0.1", "localhost"), "--tls", *ca,
          "--cert", str(certificates.certificate), "--key", str(certificates.key))  # fmt: skip
    delete_all(secure)
    store("--to", proxy, *ca, *CREDENTIALS)
    expect_whole(secure, voxels)


def test_tls_refuses_strangers(secure: Orthanc, proxy: str, certificates: Certificates) -> None:
    ca, foreign = ["--ca", str(certificates.ca)], ["--ca", str(certificates.foreign_ca)]
    for options in (
        ["--to", secure.ae, "--tls", *foreign],
        ["--to", proxy, *foreign, *CREDENTIALS],
        ["--to", proxy, *CREDENTIALS],  # the system's authorities do not know it
        # 127.0.0.2 reaches the same server, whose certificate does not name it.
        ["--to", secure.ae.replace("127.0.0.1", "127.0.0.2"), "--tls", *ca],
    ):
        status, error, progress = store(*options, check=False)
        assert status == 1 and "TLS failed" in error and error.count("\n") == 1, (options, error)
        assert not progress.get("retries")
    status, error, _ = store("--to", secure.ae, "--attempts", "1", "--timeout", "2", check=False)
    assert status == 1, "plain text towards a TLS port"


class AnsweringHandler(BaseHTTPRequestHandler):
    """Answers POSTs with the codes of a list; what Orthanc cannot be made to say at will."""

    answers: list[tuple[int, bytes]] = []
    seen: list[dict[str, str]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        type(self).seen.append(dict(self.headers))
        code, body = type(self).answers.pop(0)
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        if code == 302:
            self.send_header("Location", "http://127.0.0.1:1/other")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


def test_answers_of_stow() -> None:
    failed = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA700]}}]}}
    full = json.dumps(failed).encode()
    refused = json.dumps(failed).replace(str(0xA700), str(0xA900)).encode()
    server = ThreadingHTTPServer(("127.0.0.1", 0), AnsweringHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    to = ["--to", f"http://127.0.0.1:{server.server_address[1]}/dicom-web", "--token", "t0ken"]
    try:
        cases = [
            ([(503, b""), (507, b""), (429, b""), (200, b"{}")], 0, "", 3),
            ([(202, full), (200, b"")], 0, "", 1),
            ([(200, b'{"00081198": {"vr": "SQ"}}')] * 4, 1, "only 0 of 24 instances were acknowledged", 3),
            ([(409, full)] * 4, 1, "0xA700: out of resources (4 attempts)", 3),
            ([(409, refused)], 1, "reason 0xA900", 0),
            ([(403, b"")], 1, "not allowed to store", 0),
            ([(413, b"")], 1, "too large", 0),
            ([(302, b"")], 1, "redirections are not followed", 0),
            ([(400, b"\xff not json")], 1, "HTTP 400", 0),
        ]
        for answers, status, expected, retries in cases:
            AnsweringHandler.answers = list(answers)
            got, error, progress = store(*to, check=False)
            assert got == status and expected in error, (answers, error)
            assert progress.get("retries", 0) == retries, (answers, progress)
            assert not AnsweringHandler.answers
        assert AnsweringHandler.seen[0]["Authorization"] == "Bearer t0ken"
        assert AnsweringHandler.seen[0]["Content-Type"].startswith('multipart/related; type="application/dicom"')
    finally:
        server.shutdown()
