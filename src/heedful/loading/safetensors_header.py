"""Check the header of a safetensors file before a library reads the tensors."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heedful.errors import InputRejected, ResourceLimit
from heedful.loading.regular_file import open_regular
from heedful.loading.strict_json import parse_json
from heedful.loading.wording import escaped

HEADER_BYTES = 100 * 1000 * 1000
"""Longest header; the safetensors library has the same bound."""

TENSORS = 100_000
"""Most tensors of one file; the largest published models have a few thousand a file."""

_DIMENSIONS = 16
_BITS = {"F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32}
_BITS |= {"F16": 16, "BF16": 16, "I16": 16, "U16": 16, "BOOL": 8, "U8": 8, "I8": 8}
_QUANTISED = ("F8_", "F6_", "F4", "E8M0")


def check_safetensors(path: Path) -> tuple[str, ...]:
    """Check a safetensors header (sizes, strict JSON, tensors without gaps) and return the tensor names.

    Args:
        path: The file.

    Returns:
        The names of its tensors.

    Raises:
        InputRejected: The header is malformed, or does not fit the file.
        ResourceLimit: It is longer, or names more tensors, than any model has.
    """
    subject = escaped(path)
    header, data_bytes = _header(path, subject)
    names = [name for name in header if name != "__metadata__"]
    if len(names) > TENSORS:
        raise ResourceLimit(f"{subject}: expected at most {TENSORS:,} tensors, the header names {len(names):,}")
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InputRejected(subject, "its metadata is not a table of text", "save it again")
    spans = sorted(_span(name, header[name], subject) for name in names)
    place = 0
    for begin, end, name in spans:
        if begin != place:
            state = "overlaps the tensor before it" if begin < place else "leaves a hole before it"
            raise InputRejected(subject, f"the data of {escaped(name, 80)} {state}", "fetch or save the file again")
        place = end
    if place != data_bytes:
        raise InputRejected(subject, f"tensors of {place:,} bytes, the file holds {data_bytes:,}: truncated or padded")
    return tuple(names)


def _header(path: Path, subject: str) -> tuple[dict[str, Any], int]:
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or length > size - 8:
            message = f"its header would have {length:,} bytes, the file has {size:,}"
            raise InputRejected(
                subject, f"expected a safetensors file, {message}", "fetch it again, or name its format"
            )
        if length > HEADER_BYTES:
            raise ResourceLimit(f"{subject}: expected a header of at most {HEADER_BYTES:,} bytes, found {length:,}")
        text = file.read(length)
    if not text.startswith(b"{"):
        raise InputRejected(subject, "expected a safetensors file, its header is not a JSON object")
    if text.count(b'"dtype"') > TENSORS or text.count(b",") > 20 * TENSORS or text.count(b":") > 20 * TENSORS:
        raise ResourceLimit(f"{subject}: expected at most {TENSORS:,} tensors, the header names more")
    return parse_json(text, subject), size - 8 - length


def _span(name: str, entry: Any, subject: str) -> tuple[int, int, str]:
    """First and last byte of one tensor, once its entry is consistent."""
    shown = escaped(name, 80)
    if not isinstance(entry, Mapping) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise InputRejected(subject, f"the entry of {shown} is not dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if isinstance(dtype, str) and dtype.startswith(_QUANTISED):
        raise InputRejected(subject, f"{shown} is {escaped(dtype, 20)}: quantised weights", "dequantise the model")
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise InputRejected(subject, f"{shown} has the unknown dtype {escaped(dtype, 20)}")
    if not _counts(shape) or len(shape) > _DIMENSIONS or not _counts(offsets) or len(offsets) != 2:
        raise InputRejected(subject, f"the shape or the offsets of {shown} are not whole numbers from 0 up")
    begin, end = offsets
    if end - begin != math.prod(shape) * _BITS[dtype] // 8:
        raise InputRejected(subject, f"{shown} has {end - begin:,} bytes, not as many as {escaped(shape, 60)} needs")
    return begin, end, name


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
