"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar, cast

import grpc

from synthvol._assembler import Assembler, Reopen
from synthvol._options import ClientOptions
from synthvol._requests import model_selector, synthesize_request
from synthvol._retry import Attempts, EndpointPool
from synthvol._wire import METHOD, parse_response
from synthvol.errors import DamagedStreamError, SynthVolError, from_rpc_error
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


class Client:
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
        latent: Sequence[float] | None = None,
        mix: tuple[int, int, float] | None = None,
        timeout: float | None = None,
        request_id: str = "",
    ) -> Iterator[Volume]:
        """Yields `count` volumes, volume i of seed + i, each as soon as it is whole and verified.

        `dtype` is "int16" (stored units, HU for CT) or "float32" ([-1, 1]). `latent` gives explicit values, `mix` is
        (seed_a, seed_b, fraction); both with count 1. Leaving the loop cancels the call. Raises SynthVolError, and
        ValueError for a bad argument.
        """
        if dtype not in ("int16", "float32"):
            raise ValueError(f"dtype {dtype!r}: expected int16 or float32")
        request = synthesize_request(
            model, seed, count, format=dtype, precision=precision, priority=priority, class_label=class_label,
            latent=latent, mix=mix, request_id=request_id,
        )
        return cast(Iterator[Volume], self.synthesize(request, timeout=timeout))

    def generate_dicom(
        self,
        model: str,
        seed: int = 0,
        count: int = 1,
        *,
        precision: str = "auto",
        priority: str = "normal",
        class_label: int | None = None,
        dicom: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        request_id: str = "",
    ) -> Iterator[DicomSeries]:
        """Yields volumes as DICOM series; `dicom` is DicomOptions as a dictionary."""
        request = synthesize_request(
            model, seed, count, format="dicom", precision=precision, priority=priority, class_label=class_label,
            dicom=dicom, request_id=request_id,
        )
        return cast(Iterator[DicomSeries], self.synthesize(request, timeout=timeout))

    def synthesize(
        self, request: synthesis_pb2.SynthesizeRequest, *, timeout: float | None = None
    ) -> Iterator[Volume | DicomSeries]:
        """Yields the volumes of a request message."""
        assembler = Assembler(request)
        attempts = Attempts(self._pool, self._options.retry, timeout)
        reopen = False
        while not assembler.complete:
            if not reopen:  # the server that refused to mix builds is the one that can start the volume over
                index, endpoint, wait = self._pool.choose()
            reopen = False
            attempts.check_wait(wait)
            time.sleep(wait)
            call = endpoint.synthesize(
                assembler.next_request(), timeout=attempts.remaining(), metadata=self._options.metadata()
            )
            try:
                for message in call:
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

    def _unary(self, method: Callable[[_Endpoint], Callable[..., R]], request: Any, timeout: float | None) -> R:
        attempts = Attempts(self._pool, self._options.retry, timeout)
        while True:
            index, endpoint, wait = self._pool.choose()
            attempts.check_wait(wait)
            time.sleep(wait)
            try:
                response = method(endpoint)(
                    request, timeout=attempts.remaining(), metadata=self._options.metadata()
                )
            except grpc.RpcError as error:
                attempts.failed(index, from_rpc_error(error))
            else:
                self._pool.report_success(index)
                return response
