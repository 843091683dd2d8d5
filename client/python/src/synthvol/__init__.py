"""Synthetic 3D CT volumes from a synthvol server."""

from synthvol._options import ClientOptions, RetryPolicy, Tls
from synthvol.client import Client
from synthvol.errors import DamagedStreamError, SynthVolError
from synthvol.volume import DicomSeries, Volume

__version__ = "0.1.0"

__all__ = [
    "Client",
    "ClientOptions",
    "DamagedStreamError",
    "DicomSeries",
    "RetryPolicy",
    "SynthVolError",
    "Tls",
    "Volume",
]
