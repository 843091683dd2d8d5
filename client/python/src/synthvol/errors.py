"""What a call can fail with."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

_RETRIABLE = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DATA_LOSS,
}


class SynthVolError(Exception):
    """A call failed: `code` as gRPC names it, `reason` of google.rpc.ErrorInfo, `retry_delay` seconds of RetryInfo."""

    def __init__(
        self, code: grpc.StatusCode, message: str, reason: str = "", retry_delay: float | None = None
    ) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message
        self.reason = reason
        self.retry_delay = retry_delay

    @property
    def retriable(self) -> bool:
        """Whether another attempt may help. RESOURCE_EXHAUSTED only with RetryInfo: other limits do not go away."""
        if self.code == grpc.StatusCode.RESOURCE_EXHAUSTED:
            return self.retry_delay is not None
        return self.code in _RETRIABLE


class DamagedStreamError(SynthVolError):
    """What arrived is not what was sent, or not what was asked for."""

    def __init__(self, what: str) -> None:
        super().__init__(grpc.StatusCode.DATA_LOSS, f"the stream is damaged: {what}")


def from_rpc_error(error: grpc.RpcError) -> SynthVolError:
    """Converts what gRPC raised, with the details in its trailing metadata."""
    call: Any = error  # sync and aio errors both have code(), details() and trailing_metadata()
    code = call.code() or grpc.StatusCode.UNKNOWN
    reason, delay = "", None
    for key, value in call.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        status = status_pb2.Status()
        try:
            status.ParseFromString(value)
        except DecodeError:
            continue
        for detail in status.details:
            info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                reason = info.reason
            elif detail.Unpack(retry):
                delay = retry.retry_delay.seconds + retry.retry_delay.nanos * 1e-9
    return SynthVolError(code, call.details() or "", reason, delay)
