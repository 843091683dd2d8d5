"""Proves that callers lose nothing when servers go away: real processes, two servers behind one list.

    scripts/failover rolling    each server in turn is ended by SIGTERM and started again, under load
    scripts/failover kill       each server in turn is ended by SIGKILL and started again, under load

Callers run `synthvol generate` over both servers again and again. It fails when a caller sees a failure
or any file differs from what an undisturbed server gave; prints a row for docs/reliability.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server/process"))

from server_process import BIN, ServerProcess, write_model

STOP_TIMEOUT = 240.0
# A kill may fall between two streams; so many rounds more are tried until one does not.
MORE_ROUNDS = 20


def generate(servers: list[str], output: Path, count: int) -> tuple[int, dict[str, Any], str]:
    """Runs the client to its end; returns exit status, its summary and its last words."""
    done = subprocess.run(
        [str(BIN / "synthvol"), "generate", "--server", ",".join(servers), "--model", "tiny"]
        + ["--seed", "0", "--count", str(count), "--format", "raw", "--parallel", "2"]
        + ["--retries", "20", "--quiet", "--json", "--output", str(output)],
        capture_output=True,
        text=True,
        timeout=STOP_TIMEOUT,
        check=False,
    )
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr.strip()


def digests(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of the voxels of each volume."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.raw"))
    }


@dataclass
class Account:
    """What the callers saw."""

    runs: int = 0
    volumes: int = 0
    retries: int = 0
    failures: list[str] = field(default_factory=list)


class Callers:
    """Threads that each run the client over and over until told to stop; a run is never cut short."""

    def __init__(self, targets: list[str], folder: Path, count: int, expected: dict[str, str]) -> None:
        self.targets = targets
        self.folder = folder
        self.count = count
        self.expected = expected
        self.account = Account()
        self.stop = threading.Event()
        self.lock = threading.Lock()

    def start(self, callers: int) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._loop, args=(i,)) for i in range(callers)]
        for thread in threads:
            thread.start()
        return threads

    def _loop(self, caller: int) -> None:
        while not self.stop.is_set():
            output = self.folder / f"caller-{caller}"
            status, summary, words = generate(self.targets, output, self.count)
            found = digests(output) if output.exists() else {}
            with self.lock:
                self.account.runs += 1
                self.account.volumes += int(summary.get("volumes", 0))
                self.account.retries += int(summary.get("retries", 0))
                if status != 0:
                    self.account.failures.append(f"exit status {status}: {words[-300:]}")
                elif found != self.expected:
                    self.account.failures.append("the files differ from the undisturbed ones")
            shutil.rmtree(output, ignore_errors=True)


class Pair:
    """Two servers on addresses that outlive them."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self.servers = [self._start(0), self._start(0)]
        self.targets = [server.target for server in self.servers]
        self.restarts = 0

    def _start(self, port: int) -> ServerProcess:
        return ServerProcess(self.repository, "--drain-grace", "60", port=port)

    def restart(self, index: int, kill: bool) -> None:
        """Ends a server and starts it again on its port; raises when it did not end as it should."""
        server = self.servers[index]
        server.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        status = server.process.wait(STOP_TIMEOUT)
        if status != (-signal.SIGKILL if kill else 0):
            raise RuntimeError(f"the server ended with {status}")
        self.servers[index] = self._start(server.port)
        self.restarts += 1

    def close(self) -> None:
        for server in self.servers:
            server.process.kill()
            server.process.wait()


def disturb(pair: Pair, callers: Callers, rounds: int, kill: bool) -> None:
    """Restarts each server `rounds` times, between ends of runs; goes on until a kill met a stream."""
    for number in range(rounds + MORE_ROUNDS):
        if number >= rounds and (not kill or callers.account.retries > 0):
            return
        for index in range(2):
            before = callers.account.runs
            end = time.monotonic() + STOP_TIMEOUT
            while callers.account.runs == before and time.monotonic() < end:
                time.sleep(0.02)
            pair.restart(index, kill)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("proof", choices=["rolling", "kill"])
    parser.add_argument("--rounds", type=int, default=10, help="restarts of each server")
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--count", type=int, default=40, help="volumes of a run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_model(folder / "models")
        pair = Pair(folder / "models")
        try:
            status, _, words = generate(pair.targets[:1], folder / "reference", arguments.count)
            if status != 0:
                raise RuntimeError(f"the undisturbed run failed: {words}")
            expected = digests(folder / "reference")
            if len(expected) != arguments.count:
                raise RuntimeError(f"{len(expected)} files for {arguments.count} volumes")
            callers = Callers(pair.targets, folder, arguments.count, expected)
            begin = time.monotonic()
            threads = callers.start(arguments.callers)
            try:
                disturb(pair, callers, arguments.rounds, arguments.proof == "kill")
            finally:
                callers.stop.set()
                for thread in threads:
                    thread.join()
            seconds = time.monotonic() - begin
        finally:
            pair.close()
    account = callers.account
    print("| proof | restarts | seconds | runs of the client | volumes | retries inside them | failures seen |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {arguments.proof} | {pair.restarts} | {seconds:.0f} | {account.runs} | {account.volumes} "
        f"| {account.retries} | {len(account.failures)} |"
    )
    for failure in account.failures[:10]:
        print(failure, file=sys.stderr)
    if arguments.proof == "kill" and account.retries == 0:
        print("no kill met a stream: nothing was proven; raise --rounds", file=sys.stderr)
        return 1
    return 1 if account.failures or account.volumes != account.runs * arguments.count else 0


if __name__ == "__main__":
    sys.exit(main())
