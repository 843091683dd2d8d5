"""Says how many workers a load needs: Allen-Cunneen waits for c workers in front of one queue.

    replicas.py --service 2.0 --rate 1.5 --wait 5        # seconds a volume, volumes a second, wanted 95th percentile
    replicas.py --check build/release/tests/queueing_simulation   # the formula beside the real scheduler, two minutes
"""

from __future__ import annotations

import argparse
import math
import subprocess


def erlang_c(workers: int, load: float) -> float:
    """Returns the probability that an arrival waits, for `load` = rate x service below `workers`."""
    blocking = 1.0
    for i in range(1, workers + 1):
        blocking = load * blocking / (i + load * blocking)
    return blocking / (1.0 - load / workers * (1.0 - blocking))


def waits(workers: int, service: float, rate: float, variation: float) -> tuple[float, float]:
    """Returns mean and 95th percentile of the wait in seconds; `variation` is the service times' coefficient."""
    load = rate * service
    if load >= workers:
        return math.inf, math.inf
    waiting = erlang_c(workers, load)
    factor = (1.0 + variation**2) / 2.0
    mean = waiting * service / (workers - load) * factor
    tail = mean / waiting * math.log(waiting / 0.05) if waiting > 0.05 else 0.0
    return mean, tail


def check(simulation: str) -> None:
    """Prints the formula beside what the real scheduler did with Poisson arrivals of equal work."""
    print("| workers | busy | mean wait, formula | scheduler | 95th percentile, formula | scheduler |")
    print("|---|---|---|---|---|---|")
    for workers, busy, count in ((1, 0.5, 1000), (1, 0.7, 2000), (1, 0.9, 2500), (4, 0.7, 4000), (4, 0.9, 6000)):
        rate = busy * workers / 0.010
        command = [simulation, str(workers), "10", str(rate), str(count)]
        mean, tail, held = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
        # The service time that the worker really gave: sleeping is a little longer than asked for.
        expected = waits(workers, held, rate, 0.0)
        row = [f"{seconds * 1e3:.1f} ms" for seconds in (expected[0], mean, expected[1], tail)]
        print(f"| {workers} | {rate * held / workers:.0%} | " + " | ".join(row) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service", type=float, default=0, help="mean seconds of a volume")
    parser.add_argument("--rate", type=float, default=0, help="volumes asked for per second")
    parser.add_argument("--wait", type=float, default=0, help="wanted 95th percentile of the wait in seconds")
    parser.add_argument("--variation", type=float, default=0.1, help="coefficient of variation of the service times")
    parser.add_argument("--check", metavar="BINARY", help="compare with the real scheduler instead")
    options = parser.parse_args()
    if options.check:
        check(options.check)
        return
    if min(options.service, options.rate, options.wait) <= 0:
        parser.error("--service, --rate and --wait: expected positive numbers")
    workers = max(1, math.ceil(options.rate * options.service))
    while waits(workers, options.service, options.rate, options.variation)[1] > options.wait:
        workers += 1
    mean, tail = waits(workers, options.service, options.rate, options.variation)
    busy = options.rate * options.service / workers
    print(f"{workers} workers: {busy:.0%} busy, mean wait {mean:.2f} s, 95th percentile {tail:.2f} s")


if __name__ == "__main__":
    main()
