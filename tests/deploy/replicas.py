"""Says how many workers a load needs: Allen-Cunneen waits for c workers in front of one queue.

    replicas.py --service 2.0 --rate 1.5 --wait 5        # seconds a volume, volumes a second, wanted 95th percentile
    replicas.py --check build/release/tests/queueing_simulation   # the formula beside the real scheduler, in simulated time
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys


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


# Workers, the part of the time that they are busy, coefficient of variation of the work.
CASES = ((1, 0.5, 0.0), (1, 0.7, 0.0), (1, 0.9, 0.0), (4, 0.7, 0.0), (4, 0.9, 0.0), (16, 0.9, 0.0), (4, 0.7, 0.5), (4, 0.7, 1.0))
COUNT = 40000


def check(simulation: str) -> int:
    """Prints the formula beside what the real scheduler did with random arrivals; returns how many rows are far off.

    Far off is 15 % of the mean, or 20 % of the 95th percentile: the formula is an approximation for several workers, and 40000 arrivals
    at 90 % have a mean that is 5 % off now and then.
    """
    print("| workers | busy | variation of the work | mean wait, formula | scheduler | 95th percentile, formula | scheduler |")
    print("|---|---|---|---|---|---|---|")
    far = 0
    for workers, busy, variation in CASES:
        command = [simulation, str(workers), str(busy), str(variation), str(COUNT)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        mean, tail = map(float, output.split())
        expected_mean, expected_tail = waits(workers, 1.0, busy * workers, variation)
        far += abs(mean - expected_mean) > 0.15 * expected_mean or abs(tail - expected_tail) > 0.20 * expected_tail
        figures = " | ".join(f"{seconds:.2f}" for seconds in (expected_mean, mean, expected_tail, tail))
        print(f"| {workers} | {busy:.0%} | {variation} | {figures} |")
    return far


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service", type=float, default=0, help="mean seconds of a volume")
    parser.add_argument("--rate", type=float, default=0, help="volumes asked for per second")
    parser.add_argument("--wait", type=float, default=0, help="wanted 95th percentile of the wait in seconds")
    parser.add_argument("--variation", type=float, default=0.1, help="coefficient of variation of the service times")
    parser.add_argument("--check", metavar="BINARY", help="compare with the real scheduler instead")
    options = parser.parse_args()
    if options.check:
        return check(options.check)
    if min(options.service, options.rate, options.wait) <= 0:
        parser.error("--service, --rate and --wait: expected positive numbers")
    workers = max(1, math.ceil(options.rate * options.service))
    while waits(workers, options.service, options.rate, options.variation)[1] > options.wait:
        workers += 1
    mean, tail = waits(workers, options.service, options.rate, options.variation)
    busy = options.rate * options.service / workers
    print(f"{workers} workers: {busy:.0%} busy, mean wait {mean:.2f} s, 95th percentile {tail:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
