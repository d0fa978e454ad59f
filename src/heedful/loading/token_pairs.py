"""Read position pairs from a file: which token should attend to which."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from heedful.errors import InputRejected
from heedful.loading.regular_file import read_small
from heedful.loading.strict_json import parse_json
from heedful.loading.wording import escaped

BYTES = 16 << 20


def read_pairs(path: Path) -> list[Any]:
    """Read a JSON or CSV file into lists ``[query, key]`` or ``[sequence, query, key]`` of positions.

    Args:
        path: JSON (``.json``), a list of ``[query, key]`` or ``[sequence, query, key]``; a file of any other name is
            read as CSV with a header that names ``query``, ``key`` and, if there are several, ``sequence``.

    Returns:
        A list of lists; their numbers are not checked yet.

    Raises:
        InputRejected: It is neither, or the columns are not there.
    """
    subject = escaped(path)
    content = read_small(path, BYTES, "a file of pairs")
    if path.suffix.lower() == ".json":
        found = parse_json(content, subject)
        if not isinstance(found, list):
            raise InputRejected(
                subject, f"expected a list of pairs, found {type(found).__name__}", "write [[5, 3], ...]"
            )
        return found
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputRejected(subject, "expected CSV in UTF-8", "write a header and whole numbers") from error
    if not rows or not {"query", "key"} <= set(rows[0]):
        named = ", ".join(escaped(name, 20) for name in (rows[0] if rows else ())) or "none"
        raise InputRejected(subject, f"expected columns query and key, found {named}", "name them in the first line")
    wanted = ("sequence", "query", "key") if "sequence" in rows[0] else ("query", "key")
    return [[_whole(row[name]) for name in wanted] for row in rows]


def _whole(text: str | None) -> int | str | None:
    try:
        return int(text) if text is not None else None
    except ValueError:
        return text
