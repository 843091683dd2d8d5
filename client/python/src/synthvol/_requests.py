"""Python arguments as API messages, with errors that name the argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import json_format

from synthvol.v1 import dicom_pb2, synthesis_pb2

_FORMATS = {
    "int16": synthesis_pb2.VOLUME_FORMAT_INT16,
    "float32": synthesis_pb2.VOLUME_FORMAT_FLOAT32,
    "dicom": synthesis_pb2.VOLUME_FORMAT_DICOM,
}
_PRECISIONS = {
    "auto": synthesis_pb2.PRECISION_UNSPECIFIED,
    "fp32": synthesis_pb2.PRECISION_FP32,
    "bf16": synthesis_pb2.PRECISION_BF16,
    "tf32": synthesis_pb2.PRECISION_TF32,
}
_PRIORITIES = {
    "low": synthesis_pb2.PRIORITY_LOW,
    "normal": synthesis_pb2.PRIORITY_NORMAL,
    "high": synthesis_pb2.PRIORITY_HIGH,
}
_DIGESTS = {
    "sha256": synthesis_pb2.VOLUME_DIGEST_SHA256,
    "crc32c": synthesis_pb2.VOLUME_DIGEST_CRC32C,
}
_SEEDS = 1 << 32


def model_selector(model: str) -> synthesis_pb2.ModelSelector:
    """Parses "NAME", "NAME@VERSION" or "NAME@LABEL"."""
    name, at, rest = model.partition("@")
    if not name or (at and not rest):
        raise ValueError(f"model {model!r}: expected NAME, NAME@VERSION or NAME@LABEL")
    if rest.isascii() and rest.isdigit():
        return synthesis_pb2.ModelSelector(name=name, version=int(rest))
    return synthesis_pb2.ModelSelector(name=name, label=rest) if rest else synthesis_pb2.ModelSelector(name=name)


def _choice(what: str, value: str, choices: Mapping[str, Any]) -> Any:
    if value not in choices:
        raise ValueError(f"{what} {value!r}: expected one of {', '.join(choices)}")
    return choices[value]


def synthesize_request(
    model: str,
    seed: int,
    count: int,
    *,
    format: str,
    precision: str = "auto",
    priority: str = "normal",
    digest: str = "sha256",
    class_label: int | None = None,
    latent: Sequence[float] | None = None,
    mix: tuple[int, int, float] | None = None,
    dicom: Mapping[str, Any] | None = None,
    request_id: str = "",
) -> synthesis_pb2.SynthesizeRequest:
    """Builds the request; ValueError names what is wrong with which argument."""
    if not 0 <= seed < _SEEDS:
        raise ValueError(f"seed {seed}: expected 0..{_SEEDS - 1}")
    if count < 1 or seed + count > _SEEDS:
        raise ValueError(f"count {count}: expected 1..{_SEEDS - seed} from seed {seed}")
    request = synthesis_pb2.SynthesizeRequest(
        model=model_selector(model),
        count=count,
        format=_choice("format", format, _FORMATS),
        precision=_choice("precision", precision, _PRECISIONS),
        priority=_choice("priority", priority, _PRIORITIES),
        digest=_choice("digest", digest, _DIGESTS),
        request_id=request_id,
    )
    if latent is not None and mix is not None:
        raise ValueError("latent and mix: expected at most one of them")
    if latent is not None:
        request.latent.values.extend(latent)
    elif mix is not None:
        request.mix.seed_a, request.mix.seed_b, request.mix.fraction = mix
    else:
        request.seed = seed
    if class_label is not None:
        request.class_label = class_label
    if dicom is not None:
        try:
            request.dicom.CopyFrom(json_format.ParseDict(dict(dicom), dicom_pb2.DicomOptions()))
        except json_format.ParseError as error:
            raise ValueError(f"dicom: {error}") from error
    return request
