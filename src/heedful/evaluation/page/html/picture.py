"""Encode head pictures as small PNG files with sixteen colours; bins without visible keys are transparent."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heedful.evaluation.cards import Picture

_STOPS = ((244, 247, 250), (166, 203, 230), (62, 134, 196), (18, 69, 124), (4, 22, 46))
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SHADES = 15


def picture_png(picture: Picture) -> bytes | None:
    """Return a picture as PNG bytes, pale to dark by weight; bins without visible keys are transparent.

    Args:
        picture: The picture; its text is not trusted.

    Returns:
        The file, or None where the text holds no such grid.
    """
    grid = _grid(picture)
    if grid is None:
        return None
    lines = [grid[start : start + picture.columns] for start in range(0, len(grid), picture.columns)]
    header = struct.pack(">IIBBBBB", picture.columns, picture.rows, 4, 3, 0, 0, 0)
    parts = (
        (b"IHDR", header),
        (b"PLTE", palette()),
        (b"tRNS", b"\x00"),
        (b"IDAT", zlib.compress(b"".join(b"\x00" + _packed(line) for line in lines), 9)),
        (b"IEND", b""),
    )
    return _SIGNATURE + b"".join(_chunk(name, data) for name, data in parts)


def palette() -> bytes:
    """Return the RGB bytes of the transparent colour and of each shade."""
    colours = [_STOPS[0]] + [_colour(shade / (_SHADES - 1)) for shade in range(_SHADES)]
    return bytes(part for colour in colours for part in colour)


def _colour(place: float) -> tuple[int, int, int]:
    """The colour at a place from 0 to 1, linear between stops."""
    step = min(int(place * (len(_STOPS) - 1)), len(_STOPS) - 2)
    rest = place * (len(_STOPS) - 1) - step
    red, green, blue = (round(a + (b - a) * rest) for a, b in zip(_STOPS[step], _STOPS[step + 1], strict=True))
    return red, green, blue


def _grid(picture: Picture) -> bytes | None:
    """The bins of a picture, never more than it says it has."""
    expected = picture.rows * picture.columns
    try:
        inflating = zlib.decompressobj()
        grid = inflating.decompress(base64.b64decode(picture.shades, validate=True), expected + 1)
    except (zlib.error, binascii.Error, ValueError):
        return None
    return grid if len(grid) == expected and max(grid, default=0) <= _SHADES else None


def _packed(line: bytes) -> bytes:
    """Two bins a byte."""
    even = line + b"\x00" * (len(line) % 2)
    return bytes(left << 4 | right for left, right in zip(even[::2], even[1::2], strict=True))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
