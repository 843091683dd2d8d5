"""What a client is made with. Plain, picklable values: a DataLoader worker makes its own client from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

# A chunk is at most 3 MiB; a server that sends more is refused.
_LARGEST_MESSAGE = 4 << 20
CHANNEL_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
    ("grpc.primary_user_agent", "synthvol-python/0.1.0"),
    # Retries happen here, where resuming is known about.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.use_local_subchannel_pool", 1),
    # A fixed window, as the C++ client's (client/channel_arguments.h).
    ("grpc.http2.lookahead_bytes", 16 << 20),
    ("grpc.http2.bdp_probe", 0),
]


@dataclass(frozen=True)
class Tls:
    """PEM files. `ca` None trusts gRPC's built-in roots; `certificate` and `key` (both or none) are for mutual TLS."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    # Name that the server's certificate must carry, when it is not the endpoint's host.
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("Tls: certificate and key go together")

        def read(path: str | None) -> bytes | None:
            return None if path is None else Path(path).read_bytes()

        return grpc.ssl_channel_credentials(read(self.ca), read(self.key), read(self.certificate))


@dataclass(frozen=True)
class RetryPolicy:
    """When to try again after UNAVAILABLE, a damaged stream, RESOURCE_EXHAUSTED with RetryInfo and the like."""

    # Attempts in a row that brought no new byte before the call gives up; 1 means no retry.
    max_attempts: int = 8
    # Seconds; doubles per failed attempt. A RetryInfo of the server overrides it.
    initial_backoff: float = 0.2
    max_backoff: float = 30.0
    # Pauses are drawn from [1 - jitter, 1 + jitter] times their length; a RetryInfo's is never shortened.
    jitter: float = 0.25

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"RetryPolicy.max_attempts: expected at least 1, got {self.max_attempts}")

    def backoff(self, failures: int) -> float:
        """Returns the pause after the nth failure in a row, without jitter."""
        return min(self.max_backoff, self.initial_backoff * 2.0 ** min(max(failures - 1, 0), 30))


@dataclass(frozen=True)
class ClientOptions:
    """Where the servers are, who is asking, and how patient it is."""

    endpoints: Sequence[str] | str
    tls: Tls | None = None
    token: str | None = None
    # Read before each attempt, so that a rotated token is picked up; wins over `token`.
    token_file: str | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        endpoints = self.endpoints.split(",") if isinstance(self.endpoints, str) else list(self.endpoints)
        object.__setattr__(self, "endpoints", tuple(endpoints))
        if not endpoints:
            raise ValueError("endpoints: expected at least one HOST:PORT")
        for endpoint in endpoints:
            host, _, port = endpoint.rpartition(":")
            if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535 or "/" in endpoint:
                raise ValueError(f"endpoint {endpoint!r}: expected HOST:PORT with a port of 1..65535")

    def channel_options(self) -> list[tuple[str, int | str]]:
        """Returns gRPC's channel arguments."""
        options = list(CHANNEL_OPTIONS)
        if self.tls is not None and self.tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options

    def metadata(self) -> list[tuple[str, str]]:
        """Returns the metadata of a call: the bearer token, if there is one."""
        token = self.token
        if self.token_file is not None:
            token = Path(self.token_file).read_text(encoding="ascii").strip()
        return [] if not token else [("authorization", f"Bearer {token}")]
