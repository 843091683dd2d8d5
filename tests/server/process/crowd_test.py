"""Many peers at once: idle connections beyond every limit, and 200 readers that stop reading."""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from server_process import Api, ServerProcess

MIB = 1 << 20
READERS = 200
# What a stream may hold: its buffer, and a message on either side of gRPC's flow control.
BYTES_PER_READER = 4 * MIB


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def configured(folder: Path, **fields: Any) -> tuple[str, str]:
    (folder / "config.json").write_text(json.dumps(fields))
    return "--config", str(folder / "config.json")


def metrics(port: int) -> str:
    return str(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read().decode())


def value(text: str, series: str) -> float:
    """Returns the sum of the series whose names begin so."""
    lines = [line for line in text.splitlines() if re.match(series, line)]
    return sum(float(line.split()[-1]) for line in lines)


def eventually(holds: Callable[[], bool], seconds: float = 120.0) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


def generate(api: Api, target: str) -> int:
    """Returns the trailers of a request over a connection of its own."""
    with grpc.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stream = api.services.SynthesisServiceStub(channel).Synthesize(api.request(1, 2), timeout=120)
        return sum(message.WhichOneof("part") == "trailer" for message in stream)


def is_closed(connection: socket.socket) -> bool:
    """Returns whether the other end closed the connection; an HTTP/2 server greets first."""
    connection.settimeout(0.2)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        pass
    return True


def test_running_out_of_descriptors_passes(api: Api, repository: Path) -> None:
    with ServerProcess(repository) as server:
        pid = server.process.pid
        assert generate(api, server.target) == 2
        used = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 16, used + 16))
        crowd = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(64)]
        assert eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")) >= used + 16)
        for connection in crowd:
            connection.close()
        assert generate(api, server.target) == 2
        assert server.stop() == 0


@pytest.mark.parametrize("port_of", ["listen", "health"])
def test_connections_beyond_the_limit_are_closed_at_once(
    api: Api, repository: Path, tmp_path: Path, port_of: str
) -> None:
    limits = {"listen": 20, "health": 64}
    metrics_port, health_port = free_port(), free_port()
    flags = configured(tmp_path, connections={"max_connections": limits["listen"]})
    health = ("--health", f"127.0.0.1:{health_port}")
    with ServerProcess(repository, *flags, *health, metrics=f"127.0.0.1:{metrics_port}") as server:
        port = server.port if port_of == "listen" else health_port
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(limits[port_of] + 10)]
        # Nothing of what those would say has been read, so it is the first ones that stay.
        closed = [is_closed(connection) for connection in crowd]
        assert closed == [False] * limits[port_of] + [True] * 10
        if port_of == "listen":
            text = metrics(metrics_port)
            assert value(text, "synthvol_open_connections") == limits["listen"]
            assert value(text, "synthvol_connections_refused_total") == 10
        for connection in crowd:
            connection.close()
        assert eventually(lambda: value(metrics(metrics_port), "synthvol_open_connections") == 0)
        assert generate(api, server.target) == 2


def test_two_hundred_slow_readers_hold_little_and_are_ended(api: Api, repository: Path, tmp_path: Path) -> None:
    port = free_port()
    streams = {"buffer_bytes": MIB, "slow_reader_timeout": "20s"}
    with ServerProcess(
        repository, *configured(tmp_path, streams=streams), metrics=f"127.0.0.1:{port}"
    ) as server:

        def resident() -> int:
            status = Path(f"/proc/{server.process.pid}/status").read_text()
            return int(status.split("VmRSS:")[1].split()[0]) * 1024

        assert generate(api, server.target) == 2
        before = resident()
        peak = before
        stub = api.stub(server)
        readers = [stub.Synthesize(api.request(i, 1000)) for i in range(READERS)]
        while value(metrics(port), "synthvol_open_streams") > 0:
            peak = max(peak, resident())
            assert generate(api, server.target) == 2
        assert value(metrics(port), 'synthvol_requests_total.*reason="SLOW_READER"') == READERS
        for reader in readers:
            with pytest.raises(grpc.RpcError):
                for _ in reader:
                    pass
        print(f"\n{READERS} slow readers: {(peak - before) / READERS / MIB:.2f} MiB each")
        assert peak - before <= READERS * BYTES_PER_READER
