"""The client for asyncio: Client's calls as coroutines and asynchronous iterators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar, cast

import grpc
import grpc.aio

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
    """One server's channel and stub."""

    def __init__(self, address: str, options: ClientOptions) -> None:
        if options.tls is None:
            self.channel = grpc.aio.insecure_channel(address, options.channel_options())
        else:
            self.channel = grpc.aio.secure_channel(address, options.tls.credentials(), options.channel_options())
        self.synthesis: Any = synthesis_pb2_grpc.SynthesisServiceStub(self.channel)
        self.admin: Any = admin_pb2_grpc.AdminServiceStub(self.channel)
        self.synthesize: Any = self.channel.unary_stream(
            METHOD,
            request_serializer=synthesis_pb2.SynthesizeRequest.SerializeToString,
            response_deserializer=parse_response,
        )


class AsyncClient(Generates[AsyncIterator[Volume], AsyncIterator[DicomSeries]]):
    """Lists models and streams volumes. Belongs to the event loop that it was made in."""

    def __init__(self, options: ClientOptions | str | Sequence[str], **keywords: Any) -> None:
        """Takes ClientOptions, or endpoints and ClientOptions' fields. Connects on the first call."""
        if not isinstance(options, ClientOptions):
            options = ClientOptions(options, **keywords)
        elif keywords:
            raise TypeError(f"{', '.join(keywords)}: give them in ClientOptions")
        self._options = options
        self._endpoints = [_Endpoint(address, options) for address in options.endpoints]
        self._pool = EndpointPool(self._endpoints, options.retry)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        self._pool.closed = True
        await asyncio.gather(*(endpoint.channel.close() for endpoint in self._endpoints))

    async def list_models(self, *, timeout: float | None = None) -> list[synthesis_pb2.Model]:
        """Lists every model version that the server has."""
        request = synthesis_pb2.ListModelsRequest()
        response = await self._unary(lambda endpoint: endpoint.synthesis.ListModels, request, timeout)
        return list(response.models)

    async def get_model(self, model: str, *, timeout: float | None = None) -> synthesis_pb2.Model:
        """Returns one model version: "NAME", "NAME@VERSION" or "NAME@LABEL"."""
        request = synthesis_pb2.GetModelRequest(model=model_selector(model))
        response = await self._unary(lambda endpoint: endpoint.synthesis.GetModel, request, timeout)
        return cast(synthesis_pb2.Model, response.model)

    async def status(self, *, timeout: float | None = None) -> admin_pb2.GetStatusResponse:
        """Returns the live picture of a server (scope "admin")."""
        request = admin_pb2.GetStatusRequest()
        response = await self._unary(lambda endpoint: endpoint.admin.GetStatus, request, timeout)
        return cast(admin_pb2.GetStatusResponse, response)

    async def synthesize(
        self, request: synthesis_pb2.SynthesizeRequest, *, timeout: float | None = None
    ) -> AsyncIterator[Volume | DicomSeries]:
        """Yields the volumes of a request message."""
        assembler = Assembler(request)
        for attempt in Attempts(self._pool, self._options.retry, timeout, assembler):
            await asyncio.sleep(attempt.wait)
            with attempt:
                call = attempt.endpoint.synthesize(
                    assembler.next_request(), timeout=attempt.timeout, metadata=self._options.metadata()
                )
                try:
                    async for message in call:
                        volume = assembler.consume(message)
                        if volume is not None:
                            yield volume
                finally:
                    call.cancel()
                assembler.check_complete()

    async def _unary(
        self, method: Callable[[_Endpoint], Callable[..., Awaitable[R]]], request: Any, timeout: float | None
    ) -> R:
        for attempt in Attempts(self._pool, self._options.retry, timeout):
            await asyncio.sleep(attempt.wait)
            with attempt:
                response = await method(attempt.endpoint)(
                    request, timeout=attempt.timeout, metadata=self._options.metadata()
                )
        return response
