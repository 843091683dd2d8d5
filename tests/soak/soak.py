"""Soaks a real server with small requests: random cancels, deadlines, disconnects and slow readers.

Every request is accounted for: finished with the right bytes, refused, cancelled or expired; the
server's own counters must say the same, nothing may stay open, and memory must stay flat.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import random
import re
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server/process"))

from server_process import Api, ServerProcess, write_model  # noqa: E402

CHANNELS = 8
KINDS = ["plain"] * 6 + ["cancel", "deadline", "disconnect", "slow"]


def resident_mib(pid: int) -> float:
    """Returns the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def counters(port: int) -> dict[str, int]:
    """Returns ended Synthesize calls by code, as the server counts them."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()
    totals: dict[str, int] = collections.Counter()
    for line in text.splitlines():
        if line.startswith("synthvol_requests_total") and 'method="Synthesize"' in line:
            code = re.search(r'code="(\w+)"', line)
            if code is not None:
                totals[code.group(1)] += int(float(line.split()[-1]))
    return dict(totals)


def retry_delay(error: grpc.RpcError) -> float:
    """Returns the seconds that a refusal asks to wait, as its RetryInfo says."""
    details = dict(error.trailing_metadata()).get("grpc-status-details-bin", b"")
    status = status_pb2.Status.FromString(details)
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(retry):
            return retry.retry_delay.seconds + retry.retry_delay.nanos * 1e-9
    raise AssertionError("a refusal without RetryInfo")


class Soak:
    """Runs the requests over a few threads and keeps the account."""

    def __init__(self, api: Api, server: ServerProcess, requests: int, seed: int) -> None:
        self.api = api
        self.server = server
        self.total = requests
        self.seed = seed
        self.next = 0
        self.lock = threading.Lock()
        self.outcomes: dict[str, int] = collections.Counter()
        self.faults: list[str] = []
        self.digests: dict[int, bytes] = {}
        self.refusal_seconds: list[float] = []

    def run(self, threads: int) -> None:
        workers = [threading.Thread(target=self._work, args=(i,)) for i in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _work(self, index: int) -> None:
        chance = random.Random(self.seed * 1000 + index)
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.insecure_channel(self.server.target, options)
        while True:
            with self.lock:
                if self.next == self.total:
                    return
                self.next += 1
            kind = chance.choice(KINDS)
            if kind == "disconnect":
                own = grpc.insecure_channel(self.server.target, options)
                outcome = self._one(own, kind, chance)
                own.close()
            else:
                outcome = self._one(channel, kind, chance)
            with self.lock:
                self.outcomes[outcome] += 1

    def _one(self, channel: grpc.Channel, kind: str, chance: random.Random) -> str:
        stub = self.api.services.SynthesisServiceStub(channel)
        count = chance.randint(1, 3)
        seed = chance.randrange(40)
        timeout = chance.uniform(0.005, 0.5) if kind == "deadline" else 120.0
        begin = time.monotonic()
        call = stub.Synthesize(self.api.request(seed, count), timeout=timeout)
        try:
            return self._read(call, channel, kind, chance, seed, count)
        except grpc.RpcError as error:
            code = error.code().name
            if code == "RESOURCE_EXHAUSTED":
                with self.lock:
                    self.refusal_seconds.append(time.monotonic() - begin)
                time.sleep(retry_delay(error))
            return code
        except ValueError:
            # grpc's answer when the channel was closed under the call.
            return "CANCELLED"

    def _read(
        self, call: Any, channel: grpc.Channel, kind: str, chance: random.Random, seed: int, count: int
    ) -> str:
        stop_after = chance.randint(1, 8)
        trailers = 0
        volume = hashlib.sha256()
        for number, message in enumerate(call):
            part = message.WhichOneof("part")
            if part == "header":
                volume = hashlib.sha256()
            elif part == "chunk":
                volume.update(message.chunk.data)
            else:
                trailers += 1
                self._check(seed + message.trailer.volume_index, volume.digest(), message.trailer)
            if kind == "cancel" and number == stop_after:
                call.cancel()
            elif kind == "disconnect" and number == stop_after:
                channel.close()
            elif kind == "slow":
                time.sleep(0.05)
        if trailers != count:
            self._fault(f"a stream that ended well had {trailers} of {count} volumes")
        return "OK"

    def _check(self, seed: int, digest: bytes, trailer: Any) -> None:
        with self.lock:
            expected = self.digests.setdefault(seed, digest)
        if digest != trailer.sha256 or digest != expected:
            self._fault(f"the bytes of seed {seed} differ")

    def _fault(self, text: str) -> None:
        with self.lock:
            self.faults.append(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--threads", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--metrics-port", type=int, default=21450)
    arguments = parser.parse_args()
    api = Api()
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        # Fewer than threads, so that some are refused, but most of the requests run.
        flags = ("--queue-requests", str(arguments.threads - 1), "--log-level", "info")
        metrics = f"127.0.0.1:{arguments.metrics_port}"
        with ServerProcess(Path(folder), *flags, metrics=metrics) as server:
            pid = server.process.pid
            # The first tenth fills pools, caches and the allocator.
            warm = Soak(api, server, arguments.requests // 10, arguments.seed)
            warm.run(arguments.threads)
            before = resident_mib(pid)
            soak = Soak(api, server, arguments.requests - warm.total, arguments.seed + 1)
            begin = time.monotonic()
            soak.run(arguments.threads)
            seconds = time.monotonic() - begin
            time.sleep(1.0)
            after = resident_mib(pid)
            counted = counters(arguments.metrics_port)
            status = server.stop()
            calls = [e for e in server.log if e["event"] == "call" and e["method"] == "Synthesize"]
    outcomes = dict(warm.outcomes + soak.outcomes)  # type: ignore[operator]
    faults = warm.faults + soak.faults
    refusals = sorted(warm.refusal_seconds + soak.refusal_seconds)
    if sum(outcomes.values()) != arguments.requests:
        faults.append(f"{sum(outcomes.values())} of {arguments.requests} requests are accounted for")
    if counted.get("OK", 0) < outcomes.get("OK", 0):
        faults.append("the server counts fewer finished calls than its callers")
    if counted.get("INTERNAL", 0) or counted.get("UNKNOWN", 0):
        faults.append("internal errors")
    if sum(counted.values()) > arguments.requests:
        faults.append("a call was ended twice")
    if len(calls) != sum(counted.values()):
        faults.append(f"{len(calls)} log lines for {sum(counted.values())} counted calls")
    if status != 0:
        faults.append(f"the server ended with {status}")
    faults += [f"not a log line: {entry['text']}" for entry in server.log if entry["event"] == "foreign"]
    if after - before > 32:
        faults.append(f"memory grew from {before:.0f} to {after:.0f} MiB")
    report = {
        "requests": arguments.requests,
        "seconds": round(seconds, 1),
        "callers_saw": outcomes,
        "server_counted": counted,
        "resident_mib": {"before": round(before, 1), "after": round(after, 1)},
        "refusal_ms_median": round(refusals[len(refusals) // 2] * 1000, 2) if refusals else None,
        "faults": faults[:20],
    }
    print(json.dumps(report, indent=2))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
