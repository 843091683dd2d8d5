"""Tests of the synthvol-server binary from outside: signals, crashes, ports, tools."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
from server_process import BIN, DEPS, Api, ServerProcess, write_model


def run_server(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "synthvol-server", *flags], capture_output=True, text=True, timeout=20, check=False
    )


def volume_bytes(stream: Any) -> tuple[list[bytes], list[bytes]]:
    """Returns the volumes of a stream and the SHA-256 of their trailers."""
    volumes: list[bytes] = []
    digests: list[bytes] = []
    for message in stream:
        part = message.WhichOneof("part")
        if part == "header":
            volumes.append(b"")
        elif part == "chunk":
            volumes[-1] += message.chunk.data
        else:
            digests.append(message.trailer.sha256)
    return volumes, digests


def test_kill_in_mid_stream_and_restart_give_the_same_bytes(api: Api, repository: Path) -> None:
    with ServerProcess(repository) as first:
        whole, digests = volume_bytes(api.stub(first).Synthesize(api.request(7, 6)))
        assert [hashlib.sha256(v).digest() for v in whole] == digests
        # Ends the server while the third volume is on its way.
        got: list[bytes] = []
        with pytest.raises(grpc.RpcError):
            for message in api.stub(first).Synthesize(api.request(7, 1000)):
                part = message.WhichOneof("part")
                if part == "header":
                    got.append(b"")
                elif part == "chunk":
                    got[-1] += message.chunk.data
                    if len(got) == 3:
                        first.process.send_signal(signal.SIGKILL)
                        first.process.wait()
    assert got[:2] == whole[:2]
    volume = len(got) - 1
    slice_bytes = 64 * 64 * 2
    start = len(got[-1]) // slice_bytes
    if start == 64:
        volume, start = volume + 1, 0
        got.append(b"")
    with ServerProcess(repository) as second:
        request = api.request(7, 6, start_volume=volume, start_slice=start)
        rest, _ = volume_bytes(api.stub(second).Synthesize(request))
    assert got[:volume] == whole[:volume]
    assert [got[volume][: start * slice_bytes] + rest[0], *rest[1:]] == whole[volume:]


def test_sigterm_finishes_running_streams_and_exits_with_0(api: Api, repository: Path) -> None:
    with ServerProcess(repository, "--drain-grace", "60") as server:
        stream = api.stub(server).Synthesize(api.request(1, 30))
        next(stream)
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        trailers = sum(message.WhichOneof("part") == "trailer" for message in stream)
        stopper.join()
        assert server.process.returncode == 0
        assert trailers == 30
        call = [line for line in server.log if line["event"] == "call"]
        assert call[-1]["code"] == "OK"
        assert call[-1]["count"] == 30


def test_a_call_is_logged_with_its_ids_and_nothing_else(api: Api, repository: Path) -> None:
    with ServerProcess(repository) as server:
        trace = "0af7651916cd43dd8448eb211c80319c"
        metadata = (
            ("traceparent", f"00-{trace}-b7ad6b7169203331-01"),
            ("authorization", "Bearer very-secret"),
        )
        stub = api.stub(server)
        volume_bytes(stub.Synthesize(api.request(1, request_id="req-1"), metadata=metadata))
        assert server.stop() == 0
        line = next(line for line in server.log if line["event"] == "call")
        assert line["request_id"] == "req-1"
        assert line["trace_id"] == trace
        assert line["tenant"] == "anonymous"
        assert "very-secret" not in json.dumps(server.log)


def test_what_a_stranger_sends_does_not_fill_the_log(api: Api, repository: Path, tmp_path: Path) -> None:
    from synthvol.v1 import admin_pb2, admin_pb2_grpc

    (tmp_path / "tokens.json").write_text('{"tokens": []}')
    with ServerProcess(repository, "--token-file", str(tmp_path / "tokens.json")) as server:
        stub = admin_pb2_grpc.AdminServiceStub(grpc.insecure_channel(server.target))
        name = 'x", "level": "error\n' * 5000
        with pytest.raises(grpc.RpcError) as caught:
            stub.LoadModel(admin_pb2.LoadModelRequest(name=name, version=1), timeout=60)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.RpcError):
            volume_bytes(api.stub(server).Synthesize(api.request(1, request_id=name), timeout=60))
        assert server.stop() == 0
        calls = [line for line in server.log if line["event"] == "call"]
        assert [line["reason"] for line in calls] == ["BAD_CREDENTIALS"] * 2
        assert all(len(json.dumps(line)) < 1000 for line in calls)


def test_bytes_that_are_not_text_do_not_write_to_the_log(api: Api, repository: Path) -> None:
    with ServerProcess(repository) as server:
        # A request_id that is not UTF-8; protobuf's own complaint would be a line of its own form.
        field = api.messages.SynthesizeRequest.DESCRIPTOR.fields_by_name["request_id"].number
        request = api.request(1).SerializeToString() + bytes([field << 3 | 2, 2, 0xFF, 0xFE])
        with grpc.insecure_channel(server.target) as channel:
            stream = channel.unary_stream("/synthvol.v1.SynthesisService/Synthesize")(request, timeout=60)
            with pytest.raises(grpc.RpcError) as caught:
                next(stream)
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert server.stop() == 0
        # Every line is JSON, or reading stopped before the last.
        assert [line["event"] for line in server.log][-1] == "drained"


BAD_STARTS = [
    ((), 2, "model_repository: is required"),
    (("--model-repository", "/nowhere"), 1, "/nowhere: not a folder"),
    (("--model-repository", "{repo}", "--listen", "nonsense"), 2, "listen: expected HOST:PORT"),
    (("--model-repository", "{repo}", "--listen", "127.0.0.1:70000"), 2, "port of 0 .. 65535"),
    (("--model-repository", "{repo}", "--listen", "0.0.0.0:0"), 2, "--allow-plaintext"),
    (("--model-repository", "{repo}", "--listen", "[::]:0"), 2, "--allow-plaintext"),
    (("--model-repository", "{repo}", "--listen", "127.0.0.1:{busy}"), 1, "is the port in use?"),
    (("--model-repository", "{repo}", "--metrics", "127.0.0.1:{busy}"), 1, "is the port in use?"),
    (("--model-repository", "{repo}", "--workers", "0"), 2, "--workers"),
    (("--model-repository", "{repo}", "--workers", "many"), 2, "--workers"),
    (("--model-repository", "{repo}", "--device", "tpu"), 2, "workers.devices"),
    (("--model-repository", "{repo}", "--queue-requests", "0"), 2, "--queue-requests"),
    (("--model-repository", "{repo}", "--workers", "65"), 2, "workers.workers_per_device"),
    (("--model-repository", "{repo}", "--drain-grace", "-1"), 2, "--drain-grace"),
    (("--model-repository", "{repo}", "--log-level", "loud"), 2, "log.level"),
    (("--model-repository", "{repo}", "--tls-cert", "/no.pem"), 2, "tls.private_key_file"),
    (("--model-repository", "{repo}", "--tls-cert", "/no.pem", "--tls-key", "/no"), 2, "/no.pem"),
    (("--model-repository", "{repo}", "--token-file", "/no.json"), 2, "/no.json"),
    (("--config", "/no.json"), 2, "/no.json"),
    (("--config", "{unknown}"), 2, "not a server configuration"),
    (("--config", "{syntax}"), 2, "not a server configuration"),
    (("--config", "{gate}"), 2, "plausibility.mode: expected one of off, tag, redraw, found 'maybe'"),
    (("--config", "{redraws}"), 2, "plausibility.max_redraws: expected 1 .. 100, found 101"),
    (("--no-such-flag",), 2, "--no-such-flag"),
]


@pytest.mark.parametrize(("flags", "status", "message"), BAD_STARTS)
def test_a_bad_start_is_one_line(
    flags: tuple[str, ...], status: int, message: str, repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "unknown.json").write_text('{"listen": "127.0.0.1:0", "colour": "red"}')
    (tmp_path / "syntax.json").write_text('{"listen": ')
    for name, gate in [("gate", {"mode": "maybe"}), ("redraws", {"max_redraws": 101})]:
        text = json.dumps({"model_repository": str(repository), "plausibility": gate})
        (tmp_path / f"{name}.json").write_text(text)
    with socket.create_server(("127.0.0.1", 0)) as busy:
        values = {
            "repo": str(repository),
            "busy": str(busy.getsockname()[1]),
            "unknown": str(tmp_path / "unknown.json"),
            "syntax": str(tmp_path / "syntax.json"),
            "gate": str(tmp_path / "gate.json"),
            "redraws": str(tmp_path / "redraws.json"),
        }
        done = run_server(*(flag.format(**values) for flag in flags))
    assert done.returncode == status, done.stderr
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_check_config_prints_every_default(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"model_repository": "/models", "queue": {"max_requests": 7}}')
    done = run_server("--config", str(config), "--check-config", "--workers", "3")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["queue"]["max_requests"] == 7
    assert printed["workers"]["workers_per_device"] == 3
    assert printed["streams"]["chunk_bytes"] == 1 << 20
    config.write_text(done.stdout)
    assert run_server("--config", str(config), "--check-config").stdout == done.stdout


@pytest.mark.parametrize(("url", "accepted"), [
    ("https://pacs.example/dicom-web", True),
    ("http://localhost:8042/dicom-web", True),
    ("http://127.0.0.1/dicom-web", True),
    ("http://[::1]:8042/dicom-web", True),
    ("http://pacs.example/dicom-web", False),
    ("http://localhost.example.org/dicom-web", False),
    ("http://127.0.0.1.example.org/dicom-web", False),
    ("http://127.0.0.1@pacs.example/dicom-web", False),
    ("http://127.0.0.1:1@pacs.example/dicom-web", False),
    ("http://[::1", False),
    ("http://", False),
    ("ftp://localhost/", False),
])
def test_plain_http_is_for_this_machine_only(tmp_path: Path, url: str, accepted: bool) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({
        "model_repository": "/models", "destinations": [{"name": "pacs", "stow_rs": {"url": url}}]}))
    done = run_server("--config", str(config), "--check-config")
    assert done.returncode == (0 if accepted else 2), done.stderr
    assert accepted or "destinations[0].stow_rs.url: expected https://" in done.stderr


def test_the_documented_configuration_is_one(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs/server-configuration.md").read_text()
    config = json.loads(text.split("```json\n")[1].split("```")[0])
    del config["tls"]
    (tmp_path / "doc.json").write_text(json.dumps(config))
    (tmp_path / "bare.json").write_text('{"model_repository": "/models"}')
    documented = run_server("--config", str(tmp_path / "doc.json"), "--check-config")
    assert documented.returncode == 0, documented.stderr
    bare = run_server("--config", str(tmp_path / "bare.json"), "--check-config")
    expected = json.loads(bare.stdout)
    expected["auth"]["anonymous_scopes"] = config["auth"]["anonymous_scopes"]
    assert json.loads(documented.stdout) == expected


def test_probe_says_whether_a_name_is_serving(server: ServerProcess) -> None:
    for service, status in [
        ("", 0),
        ("synthvol.v1.SynthesisService", 0),
        ("model/tiny", 0),
        ("model/tiny@1", 0),
        ("model/other", 1),
    ]:
        done = run_server("--probe", server.target, "--probe-service", service)
        assert done.returncode == status, (service, done.stderr)
    assert run_server("--probe", "127.0.0.1:1").returncode == 1


def test_health_port_answers_probes_and_nothing_else(tmp_path: Path) -> None:
    write_model(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with ServerProcess(tmp_path, "--health", address) as server:
        for service, status in [("", 0), ("liveness", 0), ("model/other", 1)]:
            done = run_server("--probe", address, "--probe-service", service)
            assert done.returncode == status, (service, done.stderr)
        with grpc.insecure_channel(address) as channel:
            call = channel.unary_unary("/synthvol.v1.AdminService/GetStatus")
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", timeout=60)
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert server.stop() == 0


def grpcurl(*arguments: str) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("grpcurl") or str(DEPS / "bin/grpcurl")
    if not os.path.exists(tool):
        pytest.skip("grpcurl is not here; scripts/setup --tests builds it")
    return subprocess.run(
        [tool, "-plaintext", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_grpcurl_lists_describes_and_calls_through_reflection(server: ServerProcess) -> None:
    services = grpcurl(server.target, "list").stdout.split()
    assert {
        "grpc.health.v1.Health",
        "synthvol.v1.AdminService",
        "synthvol.v1.DeliveryService",
        "synthvol.v1.SynthesisService",
    } <= set(services)
    described = grpcurl(server.target, "describe", "synthvol.v1.SynthesizeRequest").stdout
    assert "uint32 start_slice = 11;" in described
    listed = grpcurl(server.target, "synthvol.v1.SynthesisService/ListModels")
    assert json.loads(listed.stdout)["models"][0]["name"] == "tiny"
    request = '{"model": {"name": "tiny"}, "seed": 3, "count": 1, "format": "VOLUME_FORMAT_INT16"}'
    called = grpcurl("-d", request, server.target, "synthvol.v1.SynthesisService/Synthesize")
    assert called.returncode == 0, called.stderr
    assert '"trailer"' in called.stdout


def test_reflection_is_gone_when_switched_off(repository: Path, tmp_path: Path) -> None:
    configuration = tmp_path / "quiet.json"
    configuration.write_text('{"reflection": false}')
    with ServerProcess(repository, "--config", str(configuration)) as server:
        listed = grpcurl(server.target, "list")
        assert listed.returncode != 0 and "reflection" in listed.stderr


def test_metrics_are_clean_and_count(api: Api, repository: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with ServerProcess(repository, metrics=f"127.0.0.1:{port}") as server:
        url = f"http://127.0.0.1:{port}/metrics"
        # A rate needs a zero to start from: the first volumes may all lie between two scrapes.
        text = urllib.request.urlopen(url, timeout=10).read().decode()
        assert 'synthvol_volume_seconds_count{model="tiny"} 0' in text
        assert 'synthvol_requests_total{code="OK",method="Synthesize",reason=""} 0' in text
        volume_bytes(api.stub(server).Synthesize(api.request(1, 2)))
        with pytest.raises(grpc.RpcError):
            volume_bytes(api.stub(server).Synthesize(api.request(1, 0)))
        text = urllib.request.urlopen(url, timeout=10).read().decode()
    assert 'synthvol_volume_seconds_count{model="tiny"} 2' in text
    assert 'code="INVALID_ARGUMENT"' in text
    assert 'synthvol_queue_wait_seconds_count{priority="normal"} 1' in text
    assert 'synthvol_queue_wait_seconds_count{priority="high"} 0' in text
    for name in [
        "synthvol_time_to_first_slice_seconds",
        "synthvol_stream_bytes",
        "synthvol_wait_estimate_error_seconds",
        "synthvol_queue_requests",
        "synthvol_device_resident_bytes",
        "synthvol_resident_models",
    ]:
        assert f"# TYPE {name} " in text
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not here; scripts/setup --tests installs it")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, text=True, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout + checked.stderr == ""
