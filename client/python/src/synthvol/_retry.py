"""Endpoints in turn, pauses after failures, and when to give up; shared by the sync and the async client."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, Protocol, TypeVar

import grpc

from synthvol._assembler import Reopen
from synthvol._options import RetryPolicy
from synthvol.errors import SynthVolError, from_rpc_error

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
        # Set when the client is closed, which cancels what runs.
        self.closed = False

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


class Progress(Protocol):
    """How far a call has come over all its attempts."""

    @property
    def high_water(self) -> int:
        """Bytes that have arrived."""

    @property
    def complete(self) -> bool:
        """Whether everything is here, so that how the attempt ends changes nothing."""


class Attempts(Generic[T]):
    """The attempts of one call, until one succeeds, the deadline is near, or too many in a row made no progress.

    Both clients go through it in the same way, each with its own kind of sleep and call:

        for attempt in Attempts(pool, policy, timeout):
            sleep(attempt.wait)
            with attempt:
                response = attempt.endpoint.Call(request, timeout=attempt.timeout)

    An error that may pass is swallowed and leads to the next attempt; any other leaves the loop.
    """

    def __init__(
        self, pool: EndpointPool[T], policy: RetryPolicy, timeout: float | None, progress: Progress | None = None
    ) -> None:
        self._pool = pool
        self._policy = policy
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._progress = progress
        self._reached = 0
        self._fruitless = 0
        self._ended = False
        # The server that refused to mix builds is the one that can start the volume over.
        self._again: tuple[int, T] | None = None

    def __iter__(self) -> Iterator[Attempt[T]]:
        while not self._ended:
            if self._again is not None:
                (index, endpoint), wait = self._again, 0.0
                self._again = None
            else:
                index, endpoint, wait = self._pool.choose()
            self._check_wait(wait)
            yield Attempt(self, index, endpoint, wait)

    def remaining(self) -> float | None:
        """Returns the seconds that are left, None when there is no deadline."""
        return None if self._deadline is None else max(0.001, self._deadline - time.monotonic())

    def succeeded(self, index: int) -> None:
        """Takes note of the attempt that ends the call."""
        self._ended = True
        self._pool.report_success(index)

    def reopen(self, index: int, endpoint: T) -> None:
        """Takes the same endpoint for the next attempt, at once."""
        self._again = (index, endpoint)

    def failed(self, index: int, error: SynthVolError) -> None:
        """Takes note of a failed attempt. Raises `error` when there should be no other."""
        reached = 0 if self._progress is None else self._progress.high_water
        if reached > self._reached:
            self._reached, self._fruitless = reached, 0
            self._pool.report_success(index)
        if self._progress is not None and self._progress.complete:
            self._ended = True
            return
        # With bytes already here, another replica may still have the version that this one lost.
        elsewhere = len(self._pool) > 1 and self._reached > 0 and error.code == grpc.StatusCode.NOT_FOUND
        # Unless the client was closed, this is a stream that the server reset: gRPC does so to calls that
        # reach it between its shutdown and its GOAWAY, and to a reader that was slow.
        reset = error.code == grpc.StatusCode.CANCELLED and not self._pool.closed
        if not (error.retriable or elsewhere or reset):
            raise error
        self._fruitless += 1
        if self._fruitless >= self._policy.max_attempts:
            if self._policy.max_attempts > 1:
                message = f"{error.message} (given up after {self._fruitless} attempts)"
                raise SynthVolError(error.code, message, error.reason, error.retry_delay) from error
            raise error
        self._pool.report_failure(index, error.retry_delay)

    def _check_wait(self, wait: float) -> None:
        if self._deadline is not None and time.monotonic() + wait >= self._deadline:
            raise SynthVolError(
                grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline is nearer than the next attempt"
            )


class Attempt(Generic[T]):
    """One attempt: where, after which pause, for how long. As a context it tells its Attempts how it ended."""

    def __init__(self, attempts: Attempts[T], index: int, endpoint: T, wait: float) -> None:
        self.endpoint = endpoint
        # Seconds to sleep first.
        self.wait = wait
        self._attempts = attempts
        self._index = index

    @property
    def timeout(self) -> float | None:
        """Seconds that the attempt may take."""
        return self._attempts.remaining()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None:
            self._attempts.succeeded(self._index)
        elif isinstance(error, Reopen):
            self._attempts.reopen(self._index, self.endpoint)
        elif isinstance(error, SynthVolError):
            self._attempts.failed(self._index, error)
        elif isinstance(error, grpc.RpcError):
            self._attempts.failed(self._index, from_rpc_error(error))
        else:
            return False
        return True
