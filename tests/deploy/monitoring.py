"""Proves rules and dashboard against a real Prometheus: every alert fires once, every dashboard query returns data.

The rules are those of the chart with their times shortened (5m -> 20s and so on) and
the wait limit lowered, so that a quiet machine fires them. Alerts whose cause can be
made here come from real servers; the causes that need a broken device or a day of history come from a page of metrics that
this program serves as job "synthvol-page". The output says which is which.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ["SYNTHVOL_BIN_DIR"])
CHART_FILES = ROOT / "helm/synthvol/files"
PORT = 21620  # and the 19 above it
PROMETHEUS = f"http://127.0.0.1:{PORT + 10}"
STARTED = time.monotonic()
MADE = {"SynthvolNoWorker", "SynthvolWorkerLost", "SynthvolFailing", "SynthvolStuck", "SynthvolModelSlower", "SynthvolEstimateOff"}


def page() -> str:
    """Returns metrics of an imaginary server whose devices fail; counters grow with time."""
    age = int(time.monotonic() - STARTED)
    slow = max(0, age - 45)
    return f"""synthvol_workers_usable{{slot="none"}} {2 if age < 10 else 0}
synthvol_workers_usable{{slot="fewer"}} {2 if age < 10 else 1}
synthvol_requests_total{{method="Synthesize",code="OK",reason=""}} {10 * age}
synthvol_requests_total{{method="Synthesize",code="INTERNAL",reason="DEVICE"}} {age}
synthvol_queue_requests 4
synthvol_volume_seconds_count{{model="stuck"}} 7
synthvol_volume_seconds_bucket{{model="slow",le="1"}} {10 * (age - slow)}
synthvol_volume_seconds_bucket{{model="slow",le="2.5"}} {10 * age}
synthvol_volume_seconds_bucket{{model="slow",le="+Inf"}} {10 * age}
synthvol_wait_estimate_error_seconds_bucket{{le="30"}} 0
synthvol_wait_estimate_error_seconds_bucket{{le="60"}} {age}
synthvol_wait_estimate_error_seconds_bucket{{le="+Inf"}} {age}
"""


class Page(BaseHTTPRequestHandler):
    """Serves page() to Prometheus."""

    def do_GET(self) -> None:
        body = page().encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


class Proof:
    """Holds what was started, to end exactly that."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str) -> None:
        with (self.work / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def server(self, name: str, number: int, repository: Path, **config: Any) -> None:
        """Starts server `number` on its own ports."""
        file = self.work / f"{name}.json"
        ports = {"listen": f"127.0.0.1:{PORT + number}", "metrics_listen": f"127.0.0.1:{PORT + 5 + number}"}
        file.write_text(json.dumps({**ports, "model_repository": str(repository), **config}))
        self.start(name, str(BIN / "synthvol-server"), "--config", str(file))

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        process = self.processes.pop(name)
        process.send_signal(how)
        process.wait(timeout=60)

    def stop_all(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()


def ask(path: str, **parameters: str) -> Any:
    """Calls Prometheus' API and returns `data`."""
    url = f"{PROMETHEUS}{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=20) as reply:
        return json.load(reply)["data"]


def metrics(number: int) -> str:
    """Returns a server's metrics page, empty while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT + 5 + number}/metrics", timeout=5) as reply:
            return str(reply.read().decode())
    except OSError:
        return ""


def wait_for(what: str, condition: Any, seconds: int = 120) -> None:
    """Waits until condition() is true; a proof that waits longer has failed."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"FAIL: {what} did not happen in {seconds} s")
        time.sleep(0.5)


def shortened_rules() -> str:
    """Returns the chart's rules with their times shortened."""
    text = (CHART_FILES / "rules.yaml").read_text(encoding="utf-8")
    text = re.sub(r"\[(5|15|30)m\]", "[20s]", text).replace("[1h]", "[90s]").replace("offset 1d", "offset 20s")
    # Seconds that callers wait: a tiny model on an idle machine makes waits of hundredths.
    text = re.sub(r'(priority!="low"\}) > 30', r"\1 > 0.01", text)
    return re.sub(r"for: \w+", "for: 2s", text).replace("interval: 30s", "interval: 1s")


def value(text: str, name: str) -> float:
    """Returns the first sample of a metric on a page."""
    match = re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
    return float(match[1]) if match else 0.0


def main() -> int:
    work = Path(tempfile.mkdtemp(prefix="synthvol-monitoring-"))
    proof = Proof(work)
    listener = ThreadingHTTPServer(("127.0.0.1", PORT + 11), Page)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    seen: dict[str, str] = {}
    try:
        return prove(proof, work, seen)
    except SystemExit:
        for log in sorted(work.glob("*.log")):
            print(f"-- {log.name}\n" + "\n".join(log.read_text(encoding="utf-8").splitlines()[-5:]))
        raise
    finally:
        proof.stop_all()
        listener.shutdown()
        shutil.rmtree(work, ignore_errors=True)


def watch_alerts(seen: dict[str, str]) -> None:
    """Adds alerts that fire, second by second, as long as the program runs."""
    while True:
        try:
            alerts = ask("/api/v1/alerts")["alerts"]
        except OSError:
            alerts = []
        for alert in alerts:
            if alert["state"] == "firing":
                labels = alert["labels"]
                seen.setdefault(labels["alertname"], labels.get("instance", labels.get("job", "no target")))
        time.sleep(1)


def generate(count: int, number: int, seed: int, output: Path, priority: str = "normal") -> subprocess.Popen[bytes]:
    """Starts a client that asks for volumes."""
    command = [str(BIN / "synthvol"), "generate", "--server", f"127.0.0.1:{PORT + number}", "--model", "demo", "--seed", str(seed),
               "--count", str(count), "--format", "raw", "--output", str(output), "--priority", priority]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def prove(proof: Proof, work: Path, seen: dict[str, str]) -> int:
    """Runs the whole proof; returns the exit status."""
    rules = work / "rules.yaml"
    rules.write_text(shortened_rules())
    subprocess.run(["promtool", "check", "rules", str(rules)], check=True, stdout=subprocess.DEVNULL)
    targets = [f"127.0.0.1:{PORT + 5 + number}" for number in (0, 1)]
    (work / "prometheus.yaml").write_text(json.dumps({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "synthvol", "static_configs": [{"targets": targets}]},
                           {"job_name": "synthvol-page", "static_configs": [{"targets": [f"127.0.0.1:{PORT + 11}"]}]}],
    }))
    proof.start("prometheus", "prometheus", f"--config.file={work}/prometheus.yaml", f"--storage.tsdb.path={work}/tsdb",
                f"--web.listen-address=127.0.0.1:{PORT + 10}", "--log.level=warn")

    def ready() -> bool:
        try:
            return bool(ask("/api/v1/rules")["groups"])
        except OSError:
            return False

    wait_for("Prometheus and its rules", ready)

    # Some fire for half a minute only, whatever this program does meanwhile.
    threading.Thread(target=watch_alerts, args=(seen,), daemon=True).start()

    def until(*names: str) -> None:
        for name in names:
            wait_for(f"alert {name}", partial(seen.__contains__, name))

    # Nothing runs yet.
    until("SynthvolDown", "SynthvolAbsent")

    # One server with a model, one with an empty repository.
    repository, empty = work / "models", work / "empty"
    empty.mkdir()
    subprocess.run([str(BIN / "synthvol-random-model"), "--size", "64", "--channels", "8", "--output", str(repository / "demo/1")],
                   check=True, stdout=subprocess.DEVNULL)
    proof.server("main", 0, repository, workers={"threads_per_worker": 1}, queue={"max_requests": 3})
    proof.server("empty", 1, empty)
    wait_for("the model", lambda: value(metrics(0), "synthvol_resident_models") > 0)
    until("SynthvolNoModel")
    subprocess.run(["promtool", "check", "metrics"], input=metrics(0).encode(), check=True)

    # More callers than the queue takes: refusals and waits.
    for turn in range(40):
        clients = [generate(8, 0, 1000 * turn + 100 * i, work / f"out-{turn}-{i}") for i in range(6)]
        time.sleep(1.5)
        for client in clients:
            client.terminate()
            client.wait()
        if {"SynthvolRefusing", "SynthvolSlow"} <= set(seen):
            break
    until("SynthvolRefusing", "SynthvolSlow")

    # A version that is no checkpoint.
    (repository / "demo/2").mkdir()
    (repository / "demo/2/config.json").write_text("{}")
    (repository / "demo/2/model.safetensors").write_bytes(b"not weights")
    until("SynthvolModelRefused")

    # The dashboard, while there is work.
    client = generate(2000, 0, 500000, work / "out-dashboard")
    time.sleep(45)
    status = check_dashboard()
    client.terminate()
    client.wait()

    # A budget that the model just fills.
    resident = value(metrics(0), "synthvol_device_resident_bytes")
    proof.stop("main")
    shutil.rmtree(repository / "demo/2")
    proof.server("main", 0, repository, models={"device_byte_budget": int(resident * 1.03)})
    wait_for("the model in a tight budget", lambda: value(metrics(0), "synthvol_resident_models") > 0)
    until("SynthvolDeviceMemory")

    # Drained by an administrator (on loopback without tokens everyone is) and left so.
    subprocess.run([sys.executable, "-c", DRAIN, f"127.0.0.1:{PORT}"], check=True)
    until("SynthvolDrainStuck")
    until(*MADE)

    text = (CHART_FILES / "rules.yaml").read_text(encoding="utf-8")
    names = re.findall(r"- alert: (\w+)", text)
    for name in names:
        where = seen.get(name, "")
        source = "page" if "page" in where or where.endswith(str(PORT + 11)) else "real servers"
        print(f"{'fired' if where else 'SILENT'} {name} ({source}: {where})")
    missing = set(names) - set(seen)
    return 1 if missing or status else 0


# A call without generated code: an empty request.
DRAIN = """
import sys, grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    channel.unary_unary("/synthvol.v1.AdminService/Drain")(b"", timeout=10)
"""


def check_dashboard() -> int:
    """Asks every query of the dashboard; returns how many gave nothing."""
    dashboard = json.loads((CHART_FILES / "dashboard.json").read_text(encoding="utf-8"))
    empty = asked = 0
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "20s").replace("$namespace", ".*").replace("offset 1d", "offset 20s")
            result = ask("/api/v1/query", query=expression)["result"]
            asked += 1
            if not result:
                empty += 1
                print(f"FAIL dashboard '{panel['title']}': no data for {expression}")
    print(f"dashboard: {asked} queries asked, {empty} without data")
    return empty


if __name__ == "__main__":
    sys.exit(main())
