"""Does a nodule detector get better with synthetic volumes? The whole experiment, from phantoms to a plot.

  1. draws phantoms: a "real" part to train on, a held-out part to judge on (synthvol-prepare --phantom);
  2. trains a class-conditional generator on the real part (synthvol-train --num-classes 2) and exports it;
  3. serves it (synthvol-server) and asks it for volumes with and without nodules (SynthVolIterableDataset);
  4. trains detectors with several seeds, on the real part alone and on the real part with synthetic volumes;
  5. judges all of them on the held-out part and writes results.json, results.md and results.svg.

Needs the synthvol package with torch, scipy, and the binaries on PATH. What is in --work already is not done again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detector import Floats, Labelled, auc, collect, f1, read_prepared, recall, scores, train
from plot import draw
from synthvol.torch import SynthVolIterableDataset

MODEL = "nodules"
ARMS = ("real", "real + synthetic")
METRICS = {"recall": recall, "F1": f1}


@dataclass(frozen=True)
class Plan:
    """Sizes of the experiment."""

    real: int = 160
    held_out: int = 240
    iterations: int = 1000
    synthetic: int = 160
    seeds: int = 5
    steps: int = 400
    share: float = 0.5
    resamples: int = 4000


QUICK = Plan(real=6, held_out=6, iterations=2, synthetic=4, seeds=2, steps=3, resamples=200)


def run(program: str, *arguments: object) -> None:
    command = [program, *map(str, arguments)]
    print("+", " ".join(command), flush=True)
    subprocess.run(command, check=True)


def make_model(work: Path, plan: Plan) -> Path:
    """Draws the phantoms, trains the generator on the real part and returns the model repository."""
    for name, first, count in (("real", 500_000, plan.real), ("held-out", 500_000 + plan.real, plan.held_out)):
        if not (work / name / "manifest.json").exists():
            run("synthvol-prepare", "--phantom", count, "--phantom-seed", first, "--output", work / name,
                "--size", 64, "--split", 1)  # fmt: skip
    repository = work / "models"
    if not (repository / MODEL).exists():
        run("synthvol-train", "--data", work / "real", "--output", work / "run", "--size", 64, "--num-classes", 2,
            "--channels", 8, "--latent-dim", 64, "--batch-size", 2, "--iterations", plan.iterations, "--threads", 1,
            "--lr-g", 6e-4, "--lr-d", 3e-4, "--lr-e", 6e-4, "--decay", 0.5, "--ema", 0.99, "--augment-flip",
            "--augment-shift", 2, "--resume", "auto", "--log-every", 10)  # fmt: skip
        run("synthvol-export", "--checkpoint", work / "run", "--ema", "--repository", repository, "--name", MODEL)
    return repository


@contextlib.contextmanager
def serve(repository: Path, log: Path) -> Iterator[str]:
    """Runs a server on a free port until the block ends; gives its address."""
    command = ["synthvol-server", "--model-repository", str(repository), "--listen", "127.0.0.1:0", "--metrics", "off"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stderr=output)
    try:
        end = time.monotonic() + 120
        while True:
            lines = [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
            events = {line["event"]: line for line in lines}
            if {"listening", "model"} <= events.keys():
                break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"synthvol-server did not start; {log} says why")
            time.sleep(0.05)
        yield f"127.0.0.1:{events['listening']['port']}"
    finally:
        process.terminate()
        process.wait()


def ask(address: str, first_seed: int, count: int, cache: Path) -> Labelled:
    """Asks the service for `count` volumes, the first half without nodules, the second with."""
    seeds = range(first_seed, first_seed + count)
    half = first_seed + count // 2
    return collect(
        SynthVolIterableDataset(address, MODEL, seeds, class_label=lambda seed: int(seed >= half), cache_dir=cache)
    )


def interval(found: Any, labels: Any, metric: Any, resamples: int) -> tuple[float, float]:  # noqa: ANN401
    """Returns the 95% interval of a mean over training runs: both runs and held-out volumes are resampled.

    `found` is [arms, runs, volumes] (bool); with two arms it is the interval of the difference of their means.
    """
    random = np.random.default_rng(0)
    _, runs, volumes = found.shape
    means = []
    for _ in range(resamples):
        run_draw, volume_draw = random.integers(0, runs, runs), random.integers(0, volumes, volumes)
        drawn = labels[volume_draw]
        arms = [np.mean([metric(arm[run][volume_draw], drawn) for run in run_draw]) for arm in found]
        means.append(arms[-1] - arms[0] if len(arms) == 2 else arms[0])
    low, high = np.nanpercentile(means, [2.5, 97.5])
    return float(low), float(high)


def summarise(probabilities: dict[str, Floats], labels: Any, plan: Plan) -> dict[str, Any]:  # noqa: ANN401
    """Returns each metric's values by arm, their mean and interval, and the difference of the arms."""
    found = np.stack([probabilities[arm] > 0.5 for arm in ARMS])
    summary: dict[str, Any] = {}
    for name, metric in METRICS.items():
        rows: dict[str, Any] = {}
        for arm, decisions in zip(ARMS, found, strict=True):
            values = [metric(decision, labels) for decision in decisions]
            rows[arm] = {"values": values, "mean": float(np.mean(values)),
                         "interval": interval(decisions[None], labels, metric, plan.resamples)}  # fmt: skip
        rows["difference"] = {"mean": rows[ARMS[1]]["mean"] - rows[ARMS[0]]["mean"],
                              "interval": interval(found, labels, metric, plan.resamples)}  # fmt: skip
        summary[name] = rows
    summary["AUC"] = {arm: [auc(score, labels) for score in probabilities[arm]] for arm in ARMS}
    return summary


def compare(address: str, work: Path, plan: Plan) -> dict[str, Any]:
    """Trains and judges the detectors of both arms; the synthetic volumes come from the service, new ones each run."""
    real, held_out = read_prepared(work / "real"), read_prepared(work / "held-out")
    labels = held_out.labels.numpy() > 0.5
    outcomes: dict[str, list[Floats]] = {arm: [] for arm in ARMS}
    recognised = []
    for seed in range(plan.seeds):
        synthetic = ask(address, seed * plan.synthetic, plan.synthetic, work / "cache")
        for arm in ARMS:
            more = synthetic if arm == ARMS[1] else None
            detector = train(real, more, seed, steps=plan.steps, share=plan.share)
            outcomes[arm].append(scores(detector, held_out))
            if more is None:
                recognised.append(auc(scores(detector, synthetic), synthetic.labels.numpy() > 0.5))
            print(f"seed {seed}, {arm}: held-out AUC {auc(outcomes[arm][-1], labels):.3f}", flush=True)
    probabilities = {arm: np.stack(outcomes[arm]) for arm in ARMS}
    return {
        "plan": asdict(plan),
        "metrics": summarise(probabilities, labels, plan),
        # How well a detector that saw only real volumes tells the classes that the generator was asked for.
        "auc_on_synthetic": recognised,
    }


def markdown(results: dict[str, Any]) -> str:
    """Returns the results as a Markdown table."""
    plan, metrics = results["plan"], results["metrics"]

    def cell(entry: dict[str, Any], sign: str = "") -> str:
        low, high = entry["interval"]
        return f"{entry['mean']:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"

    lines = [f"| {plan['seeds']} runs an arm, {plan['held_out']} held-out volumes | real | real + synthetic | "
             "difference |", "|---|---|---|---|"]  # fmt: skip
    for name in METRICS:
        rows = metrics[name]
        lines.append(f"| {name} | {cell(rows[ARMS[0]])} | {cell(rows[ARMS[1]])} | {cell(rows['difference'], '+')} |")
    means = [float(np.mean(metrics["AUC"][arm])) for arm in ARMS]
    lines.append(f"| AUC (mean) | {means[0]:.3f} | {means[1]:.3f} | {means[1] - means[0]:+.3f} |")
    told = float(np.mean(results["auc_on_synthetic"]))
    lines += ["", f"AUC of the real-only detectors on synthetic volumes, by the class that was asked for: {told:.3f}"]
    return "\n".join(lines) + "\n"


def write(results: dict[str, Any], work: Path) -> None:
    """Writes results.json, results.md and results.svg."""
    (work / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    (work / "results.md").write_text(markdown(results))
    columns = {
        name: {arm: (entry["values"], entry["mean"], *entry["interval"])
               for arm, entry in results["metrics"][name].items() if arm in ARMS}
        for name in METRICS
    }  # fmt: skip
    (work / "results.svg").write_text(draw("Nodule detection on held-out phantoms", columns))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of data, model, cache and results")
    parser.add_argument("--server", metavar="HOST:PORT", help=f"a server with a model {MODEL!r}, instead of making one")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, says nothing")
    for name, value in asdict(Plan()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), metavar="N", help=f"default {value}")
    arguments = parser.parse_args()
    chosen = {name: getattr(arguments, name) for name in asdict(Plan()) if getattr(arguments, name) is not None}
    plan = Plan(**{**asdict(QUICK if arguments.quick else Plan()), **chosen})
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    repository = make_model(arguments.work, plan)
    place = contextlib.nullcontext(arguments.server) if arguments.server else serve(
        repository, arguments.work / "server.log")  # fmt: skip
    with place as address:
        results = compare(address, arguments.work, plan)
    write(results, arguments.work)
    print((arguments.work / "results.md").read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
