"""Unit and reading of a statistic, also of one that another package registers."""

from __future__ import annotations

import base64
import struct
import zlib

import pytest
from tests.evaluation.page.cards import picture

from heedful.attention.registry import STATISTICS, StatisticFacts
from heedful.evaluation.page.html.heads import palette, picture_png, words_of
from heedful.evaluation.result import Picture


def test_a_statistic_of_a_plugin_has_its_unit_and_the_first_line_of_its_docstring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def doubled(rows: object) -> object:
        """Twice the largest weight.

        More of it.
        """
        return rows

    facts = StatisticFacts("doubled", doubled, ("max_weight",), "share", (0.0, 2.0), "this test")
    monkeypatch.setitem(STATISTICS, "doubled", facts)
    assert words_of("doubled") == ("share", "Twice the largest weight")
    assert words_of("self_mass")[0] == "mass" and words_of("of_no_package_here") == ("", "")


def chunks(png: bytes) -> dict[bytes, bytes]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    found, place = {}, 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        name, data = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        assert struct.unpack(">I", png[place + 8 + length : place + 12 + length]) == (zlib.crc32(name + data),)
        found[name] = data
        place += 12 + length
    return found


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (4, 7), (16, 16), (256, 256)])
def test_every_shade_stands_in_its_pixel(rows: int, columns: int) -> None:
    given = picture(rows, columns)
    found = chunks(picture_png(given) or b"")
    assert struct.unpack(">IIBBBBB", found[b"IHDR"]) == (columns, rows, 4, 3, 0, 0, 0)
    lines = zlib.decompress(found[b"IDAT"])
    width = 1 + (columns + 1) // 2
    pixels = bytearray()
    for row in range(rows):
        line = lines[row * width : (row + 1) * width]
        assert line[0] == 0
        both = [part for byte in line[1:] for part in (byte >> 4, byte & 15)]
        pixels += bytes(both[:columns])
    assert bytes(pixels) == zlib.decompress(base64.b64decode(given.shades))


def test_shades_grow_darker_and_the_unseen_is_transparent() -> None:
    colours = [palette()[place : place + 3] for place in range(0, 48, 3)]
    light = [sum(colour) for colour in colours[1:]]
    assert light == sorted(light, reverse=True) and len(set(light)) == 15
    assert chunks(picture_png(picture()) or b"")[b"tRNS"] == b"\x00"


@pytest.mark.parametrize(
    "shades",
    [
        "",
        "!!",
        "AAAA",
        base64.b64encode(zlib.compress(bytes(3))).decode(),
        base64.b64encode(zlib.compress(bytes(10**7))).decode(),  # a bomb: it is not inflated beyond four bytes
        base64.b64encode(zlib.compress(bytes([16] * 4))).decode(),
    ],
)
def test_what_is_no_such_grid_has_no_picture(shades: str) -> None:
    assert picture_png(Picture(rows=2, columns=2, shades=shades)) is None
