"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar, cast

import grpc

from synthvol._assembler import Assembler
from synthvol._generate import Generates
from synthvol._options import ClientOptions
from synthvol._requests import model_selector
from synthvol._retry import Attempts, EndpointPool
from synthvol._wire import METHOD, parse_response
from synthvol.v1 import admin_pb2, admin_pb2_grpc, synthesis_pb2, synthesis_pb2_grpc
from synthvol.volume import DicomSeries, Volume

R = TypeVar("R")


class _Endpoint:
    """One server's channel and stubs."""

    def __init__(self, address: str, options: ClientOptions) -> None:
        if options.tls is None:
            self.channel = grpc.insecure_channel(address, options.channel_options())
        else:
            self.channel = grpc.secure_channel(address, options.tls.credentials(), options.channel_options())
        self.synthesis: Any = synthesis_pb2_grpc.SynthesisServiceStub(self.channel)
        self.synthesize: Any = self.channel.unary_stream(
            METHOD,
            request_serializer=synthesis_pb2.SynthesizeRequest.SerializeToString,
            response_deserializer=parse_response,
        )
        self.admin: Any = admin_pb2_grpc.AdminServiceStub(self.channel)


class Client(Generates[Iterator[Volume], Iterator[DicomSeries]]):
    """Lists models and streams volumes, verified, with retry, resume and fail-over.

    Thread-safe. Not fork-safe: after a fork (DataLoader workers) make a new one, as SynthVolIterableDataset does.
    """

    def __init__(self, options: ClientOptions | str | Sequence[str], **keywords: Any) -> None:
        """Takes ClientOptions, or endpoints and ClientOptions' fields. Connects on the first call."""
        if not isinstance(options, ClientOptions):
            options = ClientOptions(options, **keywords)
        elif keywords:
            raise TypeError(f"{', '.join(keywords)}: give them in ClientOptions")
        self._options = options
        self._endpoints = [_Endpoint(address, options) for address in options.endpoints]
        self._pool = EndpointPool(self._endpoints, options.retry)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; running calls end with CANCELLED."""
        self._pool.closed = True
        for endpoint in self._endpoints:
            endpoint.channel.close()

    def list_models(self, *, timeout: float | None = None) -> list[synthesis_pb2.Model]:
        """Lists every model version that the server has."""
        request = synthesis_pb2.ListModelsRequest()
        return list(self._unary(lambda endpoint: endpoint.synthesis.ListModels, request, timeout).models)

    def get_model(self, model: str, *, timeout: float | None = None) -> synthesis_pb2.Model:
        """Returns one model version: "NAME", "NAME@VERSION" or "NAME@LABEL"."""
        request = synthesis_pb2.GetModelRequest(model=model_selector(model))
        response = self._unary(lambda endpoint: endpoint.synthesis.GetModel, request, timeout)
        return cast(synthesis_pb2.Model, response.model)

    def status(self, *, timeout: float | None = None) -> admin_pb2.GetStatusResponse:
        """Returns the live picture of a server (scope "admin")."""
        request = admin_pb2.GetStatusRequest()
        response = self._unary(lambda endpoint: endpoint.admin.GetStatus, request, timeout)
        return cast(admin_pb2.GetStatusResponse, response)

    def synthesize(
        self, request: synthesis_pb2.SynthesizeRequest, *, timeout: float | None = None
    ) -> Iterator[Volume | DicomSeries]:
        """Yields the volumes of a request message."""
        assembler = Assembler(request)
        for attempt in Attempts(self._pool, self._options.retry, timeout, assembler):
            time.sleep(attempt.wait)
            with attempt:
                call = attempt.endpoint.synthesize(
                    assembler.next_request(), timeout=attempt.timeout, metadata=self._options.metadata()
                )
                try:
                    for message in call:
                        volume = assembler.consume(message)
                        if volume is not None:
                            yield volume
                finally:
                    call.cancel()
                assembler.check_complete()

    def _unary(self, method: Callable[[_Endpoint], Callable[..., R]], request: Any, timeout: float | None) -> R:
        for attempt in Attempts(self._pool, self._options.retry, timeout):
            time.sleep(attempt.wait)
            with attempt:
                response = method(attempt.endpoint)(
                    request, timeout=attempt.timeout, metadata=self._options.metadata()
                )
        return response
