"""Reads SynthesizeResponse with one copy of the voxels out of the message.

Protobuf's Python classes copy a bytes field twice on the way to the caller. Chunks are nearly all of a stream, so
they are read here and copied once (google_crc32c takes no view); everything else is left to protobuf.
"""

from __future__ import annotations

from dataclasses import dataclass

from synthvol.v1 import synthesis_pb2

# SynthesizeResponse.chunk: field 2, length-delimited.
_CHUNK_TAG = 0x12


@dataclass
class Chunk:
    """synthvol.v1.VolumeChunk."""

    volume_index: int = 0
    offset: int = 0
    data: bytes = b""
    crc32c: int = 0
    slice_index: int = 0
    file_name: str = ""
    last_of_file: bool = False


def _varint(buffer: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a varint of more than 64 bits")


def _parse_chunk(buffer: bytes, position: int) -> Chunk:
    chunk = Chunk()
    end = len(buffer)
    while position < end:
        tag, position = _varint(buffer, position)
        field, wire = tag >> 3, tag & 7
        number, content = 0, b""
        if wire == 0:
            number, position = _varint(buffer, position)
        elif wire in (1, 2, 5):
            if wire == 2:
                length, position = _varint(buffer, position)
            else:
                length = 8 if wire == 1 else 4
            content = buffer[position : position + length]
            position += length
            if position > end:
                raise ValueError("a field that ends past its message")
        else:
            raise ValueError(f"wire type {wire}")
        if field == 1:
            chunk.volume_index = number
        elif field == 2:
            chunk.offset = number
        elif field == 3:
            chunk.data = content
        elif field == 4:
            chunk.crc32c = int.from_bytes(content, "little")
        elif field == 5:
            chunk.slice_index = number
        elif field == 6:
            chunk.file_name = str(content, "utf-8")
        elif field == 7:
            chunk.last_of_file = bool(number)
    return chunk


def parse_response(buffer: bytes) -> synthesis_pb2.SynthesizeResponse | Chunk:
    """Deserialises a message of the stream. Raises for bytes that are none, which gRPC turns into an error."""
    if buffer and buffer[0] == _CHUNK_TAG:
        length, position = _varint(buffer, 1)
        if position + length == len(buffer):
            return _parse_chunk(buffer, position)
    return synthesis_pb2.SynthesizeResponse.FromString(buffer)


METHOD = "/synthvol.v1.SynthesisService/Synthesize"
