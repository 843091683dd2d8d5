"""A real Orthanc with DICOMweb, started for a test on loopback ports of its own."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from tools import free_port, run

USER, PASSWORD = "pacs", "secret word"
AE_TITLE = "ORTHANC"


@dataclass(frozen=True)
class Certificates:
    """An authority, and a certificate of it for 127.0.0.1 and localhost."""

    ca: Path
    certificate: Path
    key: Path
    foreign_ca: Path


def make_certificates(folder: Path) -> Certificates:
    def authority(name: str) -> Path:
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")  # fmt: skip
        return folder / f"{name}.pem"

    ca = authority("ca")
    foreign = authority("foreign")
    run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", folder / "server.key",
        "-out", folder / "server.csr")  # fmt: skip
    (folder / "extensions").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    run("openssl", "x509", "-req", "-days", "2", "-in", folder / "server.csr", "-CA", ca, "-CAkey", folder / "ca.key",
        "-CAcreateserial", "-extfile", folder / "extensions", "-out", folder / "server.pem")  # fmt: skip
    return Certificates(ca, folder / "server.pem", folder / "server.key", foreign)


@dataclass
class Orthanc:
    """One server with its storage in `folder`; may be killed and started again on the same storage."""

    folder: Path
    tls: Certificates | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    dicom_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def ae(self) -> str:
        return f"{AE_TITLE}@127.0.0.1:{self.dicom_port}"

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def web(self) -> str:
        return f"{self.root}/dicom-web"

    def configuration(self) -> dict[str, Any]:
        configuration: dict[str, Any] = {
            "Name": "synthvol test",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
            "HttpPort": self.http_port,
            "HttpBindAddresses": ["127.0.0.1"],
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomAet": AE_TITLE,
            "DicomPort": self.dicom_port,
            "DicomCheckCalledAet": True,
            "DicomModalities": {"synthvol": ["SYNTHVOL", "127.0.0.1", free_port()]},
            "DicomAlwaysAllowEcho": False,
            "OverwriteInstances": False,
            "SyncStorageArea": False,  # only the process dies here, not the machine
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        if self.tls:
            configuration |= {
                # Not SslEnabled: Debian 12's Orthanc crashes at the first HTTPS request. A proxy ends TLS for it.
                "DicomTlsEnabled": True,
                "DicomTlsCertificate": str(self.tls.certificate),
                "DicomTlsPrivateKey": str(self.tls.key),
                "DicomTlsTrustedCertificates": str(self.tls.ca),
                "DicomTlsRemoteCertificateRequired": False,
            }
        return configuration | self.extra

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "orthanc.json"
        configuration.write_text(json.dumps(self.configuration()))
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen([orthanc_binary(), str(configuration)], stdout=log, stderr=log)
        for _ in range(200):
            if self.process.poll() is not None:
                break
            try:
                self.get("/system")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        raise AssertionError("Orthanc did not start:\n" + (self.folder / "orthanc.log").read_text()[-3000:])

    def kill(self) -> None:
        """Ends it at once, as a power cut would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def request(self, path: str, accept: str = "*/*") -> tuple[bytes, str]:
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request = urllib.request.Request(
            self.root + path, headers={"Authorization": f"Basic {token}", "Accept": accept}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=20) as answer:
            return answer.read(), answer.headers.get("Content-Type", "")

    def get(self, path: str) -> Any:  # noqa: ANN401
        return json.loads(self.request(path)[0])

    def counts(self) -> tuple[int, int, int]:
        """Studies, series and instances."""
        statistics = self.get("/statistics")
        return statistics["CountStudies"], statistics["CountSeries"], statistics["CountInstances"]

    def retrieve(self) -> list[pydicom.Dataset]:
        """All instances by QIDO-RS and WADO-RS (PS3.18 section 10.4), in slice order."""
        datasets = []
        for series in self.get("/dicom-web/series"):
            study_uid, series_uid = series["0020000D"]["Value"][0], series["0020000E"]["Value"][0]
            body, content_type = self.request(
                f"/dicom-web/studies/{study_uid}/series/{series_uid}",
                'multipart/related; type="application/dicom"; transfer-syntax=*',
            )
            boundary = content_type.split("boundary=")[1].split(";")[0].strip('"').encode()
            for part in body.split(b"--" + boundary)[1:-1]:
                content = part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
                datasets.append(pydicom.dcmread(pydicom.filebase.DicomBytesIO(content)))
        return sorted(datasets, key=lambda dataset: int(dataset.InstanceNumber))


def orthanc_binary() -> str:
    binary = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    assert binary, "Orthanc is not installed: scripts/setup --tests"
    return binary
