"""Check the structure of a Parquet file before a library decodes it.

A footer names rows, columns and pages, and each page its size once it is decompressed. A library allocates what they
claim. So footer and pages are read here first, in Thrift's compact form, and compared with one another, with the file
and with what its owner expects: a page that claims gigabytes is refused before any is allocated.

Source: the Parquet format, https://github.com/apache/parquet-format (parquet.thrift, FileMetaData and PageHeader).
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heedful.errors import HeedfulError, InputRejected
from heedful.loading.memory import ensure_fits
from heedful.loading.wording import escaped, reason

if TYPE_CHECKING:
    import polars

_MAGIC = b"PAR1"
_MOST_NODES, _DEEPEST = 2_000_000, 24
_SLACK = 1 << 16
_FIX = "write the table again"
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_WHOLE = (4, 5, 6)
Struct = dict[int, Any]


@dataclass(frozen=True)
class Outline:
    """Content of a Parquet footer, checked against the file's pages.

    Attributes:
        rows: Rows.
        columns: Names of its columns, in order.
        decompressed: Bytes of all pages once they are decompressed.
    """

    rows: int
    columns: tuple[str, ...]
    decompressed: int


def parquet_outline(content: bytes, subject: str, *, row_bytes: int | None = None) -> Outline:
    """Check the structure of a flat Parquet table.

    Args:
        content: The file.
        subject: Its name in messages.
        row_bytes: Most bytes that a row may take in one column's pages; None where text makes that unknown.

    Returns:
        The outline.

    Raises:
        InputRejected: It is no flat Parquet table, or footer, pages and file disagree.
    """
    try:
        return _outline(content, row_bytes)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        message = reason(error) if isinstance(error, ValueError) else "its outline cannot be read"
        raise InputRejected(subject, f"expected a Parquet table: {message}", _FIX) from error


def decoded_table(content: bytes, subject: str) -> polars.DataFrame:
    """Check the structure of a Parquet file, then decode it.

    Args:
        content: The file.
        subject: Its name in messages.

    Returns:
        The table.

    Raises:
        InputRejected: It cannot be decoded.
        ResourceLimit: It would not fit in memory.
    """
    import polars

    outline = parquet_outline(content, subject)
    wanted = 2 * max(outline.decompressed, 8 * outline.rows * len(outline.columns))
    ensure_fits(wanted, f"{subject}: {outline.rows:,} rows", hint="use a machine with more memory")
    try:
        with _without_panics():
            return polars.read_parquet(io.BytesIO(content))
    except (HeedfulError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic of the Rust library is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise InputRejected(subject, f"expected a Parquet table ({type(error).__name__})", _FIX) from error


@contextlib.contextmanager
def _without_panics() -> Iterator[None]:
    """What the library's panics write to standard error goes nowhere; its error says enough."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _outline(content: bytes, row_bytes: int | None) -> Outline:
    if len(content) < 12 or content[:4] != _MAGIC or content[-4:] != _MAGIC:
        raise ValueError("it does not begin and end as one")
    length = int.from_bytes(content[-8:-4], "little")
    if length > len(content) - 12:
        raise ValueError(f"its footer would have {length:,} bytes, the file has {len(content):,}")
    footer = _Reader(content, len(content) - 8 - length, len(content) - 8).struct()
    root, *leaves = footer[2]
    if root.get(5) != len(leaves) or any(5 in leaf for leaf in leaves):
        raise ValueError("its columns are not flat")
    columns = tuple(leaf[4].decode("utf-8") for leaf in leaves)
    groups = footer.get(4, [])
    if sum(_count(group[3]) for group in groups) != _count(footer[3]):
        raise ValueError("its groups have other rows than its footer says")
    decompressed = 0
    for group in groups:
        if len(group[1]) != len(columns):
            raise ValueError("a group of rows has other columns")
        for chunk in group[1]:
            size = _chunk(content, chunk, group[3], len(content) - 8 - length)
            if row_bytes is not None and size > row_bytes * group[3] + _SLACK:
                raise ValueError(f"{group[3]:,} rows of a column claim {size:,} bytes")
            decompressed += size
    return Outline(footer[3], columns, decompressed)


def _chunk(content: bytes, chunk: Struct, rows: int, end_of_data: int) -> int:
    """Bytes of one column's pages in one group, decompressed."""
    if 1 in chunk:
        raise ValueError("a column lies in another file")
    facts = chunk[3]
    if _count(facts[5]) != rows:
        raise ValueError(f"a column claims {facts[5]:,} values for {rows:,} rows")
    place = min(_count(facts[name]) for name in (9, 11) if facts.get(name))
    end = place + _count(facts[7])
    if not 4 <= place <= end <= end_of_data:
        raise ValueError("the pages of a column lie outside the file")
    values = size = 0
    while place < end:
        reader = _Reader(content, place, end)
        header = reader.struct()
        packed = _count(header[3])
        size += _count(header[2])
        data = header.get(5) or header.get(8)
        if data is not None:
            values += _count(data[1])
        elif 7 in header and _count(header[7][1]) > max(rows, 1):
            raise ValueError(f"a dictionary of {header[7][1]:,} values for {rows:,} rows")
        place = reader.place + packed
        if place > end or values > rows:
            raise ValueError("a page goes beyond its column")
    if values != rows:
        raise ValueError(f"pages of {values:,} values for {rows:,} rows")
    return size


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 48:
        raise ValueError(f"a count of {escaped(value, 40)}")
    return value


class _Reader:
    """Thrift's compact form: a struct as a table of field number to value."""

    def __init__(self, content: bytes, place: int, end: int) -> None:
        self.content, self.place, self.end, self.nodes = content, place, end, 0

    def struct(self, depth: int = 0) -> Struct:
        found: Struct = {}
        number = 0
        while word := self._byte():
            number = number + (word >> 4) if word >> 4 else self._signed()
            found[number] = self._value(word & 15, depth)
        return found

    def _value(self, form: int, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > _MOST_NODES or depth > _DEEPEST:
            raise ValueError("its footer has too many parts")
        if form in (_TRUE, _FALSE):
            return form == _TRUE
        if form == _BYTE:
            return self._byte()
        if form in _WHOLE:
            return self._signed()
        if form == _DOUBLE:
            return self._bytes(8)
        if form == _BINARY:
            return self._bytes(self._varint())
        if form == _STRUCT:
            return self.struct(depth + 1)
        if form in (_LIST, _SET):
            head = self._byte()
            size = head >> 4 if head >> 4 < 15 else self._varint()
            self._check(size)
            return [self._item(head & 15, depth + 1) for _ in range(size)]
        if form == _MAP:
            size = self._varint()
            self._check(size)
            forms = self._byte() if size else 0
            return [(self._item(forms >> 4, depth + 1), self._item(forms & 15, depth + 1)) for _ in range(size)]
        raise ValueError(f"a value of form {form}")

    def _item(self, form: int, depth: int) -> Any:
        """One item of a list: a truth value takes a byte there."""
        return self._byte() == _TRUE if form in (_TRUE, _FALSE) else self._value(form, depth)

    def _check(self, size: int) -> None:
        if size > self.end - self.place:
            raise ValueError(f"a list of {size:,} parts, longer than the file")

    def _byte(self) -> int:
        if self.place >= self.end:
            raise ValueError("it was cut")
        self.place += 1
        return self.content[self.place - 1]

    def _bytes(self, size: int) -> bytes:
        if size > self.end - self.place:
            raise ValueError("it was cut")
        self.place += size
        return self.content[self.place - size : self.place]

    def _varint(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise ValueError("a number without end")

    def _signed(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
