"""The client for asyncio: Client's calls as coroutines and asynchronous iterators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar, cast

import grpc
import grpc.aio

from synthvol._assembler import Assembler, Reopen
from synthvol._options import ClientOptions
from synthvol._requests import model_selector, synthesize_request
from synthvol._retry import Attempts, EndpointPool
from synthvol._wire import METHOD, parse_response
from synthvol.errors import DamagedStreamError, SynthVolError, from_rpc_error
from synthvol.v1 import synthesis_pb2, synthesis_pb2_grpc
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
        self.synthesize: Any = self.channel.unary_stream(
            METHOD,
            request_serializer=synthesis_pb2.SynthesizeRequest.SerializeToString,
            response_deserializer=parse_response,
        )


class AsyncClient:
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

    def generate(
        self,
        model: str,
        seed: int = 0,
        count: int = 1,
        *,
        dtype: str = "int16",
        precision: str = "auto",
        priority: str = "normal",
        class_label: int | None = None,
        timeout: float | None = None,
        request_id: str = "",
    ) -> AsyncIterator[Volume]:
        """Yields `count` volumes, as Client.generate does."""
        if dtype not in ("int16", "float32"):
            raise ValueError(f"dtype {dtype!r}: expected int16 or float32")
        request = synthesize_request(
            model, seed, count, format=dtype, precision=precision, priority=priority, class_label=class_label,
            request_id=request_id,
        )
        return cast(AsyncIterator[Volume], self.synthesize(request, timeout=timeout))

    def generate_dicom(
        self, model: str, seed: int = 0, count: int = 1, *, dicom: Mapping[str, Any] | None = None,
        class_label: int | None = None, timeout: float | None = None,
    ) -> AsyncIterator[DicomSeries]:
        """Yields volumes as DICOM series, as Client.generate_dicom does."""
        request = synthesize_request(model, seed, count, format="dicom", dicom=dicom, class_label=class_label)
        return cast(AsyncIterator[DicomSeries], self.synthesize(request, timeout=timeout))

    async def synthesize(
        self, request: synthesis_pb2.SynthesizeRequest, *, timeout: float | None = None
    ) -> AsyncIterator[Volume | DicomSeries]:
        """Yields the volumes of a request message."""
        assembler = Assembler(request)
        attempts = Attempts(self._pool, self._options.retry, timeout)
        reopen = False
        while not assembler.complete:
            if not reopen:  # the server that refused to mix builds is the one that can start the volume over
                index, endpoint, wait = self._pool.choose()
            reopen = False
            attempts.check_wait(wait)
            await asyncio.sleep(wait)
            call = endpoint.synthesize(
                assembler.next_request(), timeout=attempts.remaining(), metadata=self._options.metadata()
            )
            try:
                async for message in call:
                    volume = assembler.consume(message)
                    if volume is not None:
                        yield volume
                if not assembler.complete:
                    raise DamagedStreamError("it ended without the last volume's trailer")
                self._pool.report_success(index)
            except Reopen:
                reopen, wait = True, 0.0
            except SynthVolError as error:
                attempts.failed(index, error, assembler.high_water)
            except grpc.RpcError as error:
                attempts.failed(index, from_rpc_error(error), assembler.high_water)
            finally:
                call.cancel()

    async def _unary(
        self, method: Callable[[_Endpoint], Callable[..., Awaitable[R]]], request: Any, timeout: float | None
    ) -> R:
        attempts = Attempts(self._pool, self._options.retry, timeout)
        while True:
            index, endpoint, wait = self._pool.choose()
            attempts.check_wait(wait)
            await asyncio.sleep(wait)
            try:
                response = await method(endpoint)(
                    request, timeout=attempts.remaining(), metadata=self._options.metadata()
                )
            except grpc.RpcError as error:
                attempts.failed(index, from_rpc_error(error))
            else:
                self._pool.report_success(index)
                return response
