"""Endpoints in turn, pauses after failures, and when to give up; shared by the sync and the async client."""

from __future__ import annotations

import random
import threading
import time
from typing import Generic, TypeVar

import grpc

from synthvol._options import RetryPolicy
from synthvol.errors import SynthVolError

T = TypeVar("T")


class EndpointPool(Generic[T]):
    """Hands out endpoints (stubs) in turn, passing over those that pause. Thread-safe."""

    def __init__(self, endpoints: list[T], policy: RetryPolicy) -> None:
        self._endpoints = endpoints
        self._policy = policy
        self._lock = threading.Lock()
        self._turn = 0
        self._failures = [0] * len(endpoints)
        self._not_before = [0.0] * len(endpoints)

    def __len__(self) -> int:
        return len(self._endpoints)

    def choose(self) -> tuple[int, T, float]:
        """Returns the index, the endpoint and for how long to wait before using it."""
        with self._lock:
            now, count = time.monotonic(), len(self._endpoints)
            candidates = [(self._turn + step) % count for step in range(count)]
            free = [index for index in candidates if self._not_before[index] <= now]
            index = free[0] if free else min(candidates, key=lambda i: self._not_before[i])
            self._turn = index + 1
            return index, self._endpoints[index], max(0.0, self._not_before[index] - now)

    def report_failure(self, index: int, retry_delay: float | None) -> None:
        """Makes an endpoint pause."""
        jitter = self._policy.jitter
        with self._lock:
            self._failures[index] += 1
            if retry_delay is not None:
                pause = retry_delay * random.uniform(1.0, 1.0 + jitter)
            else:
                pause = self._policy.backoff(self._failures[index]) * random.uniform(1.0 - jitter, 1.0 + jitter)
            self._not_before[index] = time.monotonic() + pause

    def report_success(self, index: int) -> None:
        """Forgets an endpoint's failures."""
        with self._lock:
            self._failures[index], self._not_before[index] = 0, 0.0


class Attempts(Generic[T]):
    """The attempts of one call: deadline, and giving up after too many in a row without progress."""

    def __init__(self, pool: EndpointPool[T], policy: RetryPolicy, timeout: float | None) -> None:
        self._pool = pool
        self._policy = policy
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._reached = 0
        self._fruitless = 0

    def remaining(self) -> float | None:
        """Returns the seconds that are left, None when there is no deadline."""
        return None if self._deadline is None else max(0.001, self._deadline - time.monotonic())

    def failed(self, index: int, error: SynthVolError, progress: int = 0) -> None:
        """Takes note of a failed attempt. Raises `error` when there should be no other."""
        if progress > self._reached:
            self._reached, self._fruitless = progress, 0
            self._pool.report_success(index)
        # With bytes already here, another replica may still have the version that this one lost.
        elsewhere = len(self._pool) > 1 and self._reached > 0 and error.code == grpc.StatusCode.NOT_FOUND
        if not (error.retriable or elsewhere):
            raise error
        self._fruitless += 1
        if self._fruitless >= self._policy.max_attempts:
            if self._policy.max_attempts > 1:
                message = f"{error.message} (given up after {self._fruitless} attempts)"
                raise SynthVolError(error.code, message, error.reason, error.retry_delay) from error
            raise error
        self._pool.report_failure(index, error.retry_delay)

    def check_wait(self, wait: float) -> None:
        """Raises DEADLINE_EXCEEDED when the pause ends past the deadline."""
        if self._deadline is not None and time.monotonic() + wait >= self._deadline:
            raise SynthVolError(
                grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline is nearer than the next attempt"
            )
