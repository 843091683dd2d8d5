"""CRC32C (Castagnoli) ."""

from __future__ import annotations

import functools

import google_crc32c


def crc32c(data: bytes) -> int:
    """Returns the CRC32C of `data`."""
    return int(google_crc32c.value(data))



@functools.lru_cache(maxsize=64)
def _power(size: int) -> int:
    """Returns x^(8 * size) modulo the CRC's polynomial, in its bit order (the highest bit is x^0)."""
    result, power = 1 << 31, 1 << 23
    while size:
        if size & 1:
            result = _multiply(power, result)
        power = _multiply(power, power)
        size >>= 1
    return result


def _multiply(a: int, b: int) -> int:
    product = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = b >> 1 ^ (0x82F63B78 if b & 1 else 0)
    return product


def concat_crc32c(first: int, second: int, second_size: int) -> int:
    """Returns the CRC32C of two runs of bytes in a row, from theirs and the size of the second.

    A few microseconds for sizes that come again, as those of chunks do.
    """
    return _multiply(_power(second_size), first) ^ second
