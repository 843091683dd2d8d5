"""CRC32C (Castagnoli) ."""

from __future__ import annotations

import google_crc32c


def crc32c(data: bytes) -> int:
    """Returns the CRC32C of `data`."""
    return int(google_crc32c.value(data))
