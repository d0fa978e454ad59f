"""Distinct documents: what installed packages say of themselves, each by other authors."""

from __future__ import annotations

import re
from importlib import metadata
from typing import Any

from heedful.errors import InputRejected
from heedful.loading.documents import Documents

LEAST_LETTERS, LEAST_PARAGRAPH = 0.9, 80
"""Share of letters and blanks, and characters, below which a paragraph is no prose."""

_LEFT_OUT = ("http", "<", "|", "::", ">>>", "WARRANT", "Licensed under")
_OWN = "heedful"


def descriptions(characters: int) -> Documents:
    """The prose of the descriptions of all installed packages that have enough of it.

    A package is a document. Code, tables, lists of links and licences are left out; of packages of one family, whose
    names begin alike up to the first ``-``, ``_`` or digit, the longest is taken.

    Args:
        characters: Least length of a document.

    Raises:
        InputRejected: There are fewer than 32.
    """
    found: dict[str, tuple[str, str]] = {}
    for package in metadata.distributions():
        name = str(package.metadata["Name"])
        family = re.split(r"[-_\d]", name.lower())[0]
        text = prose(_description(package))
        if (
            not name.lower().startswith(_OWN)
            and len(text) >= characters
            and len(text) > len(found.get(family, "  ")[1])
        ):
            found[family] = (name, text)
    kept = sorted(found.values(), key=lambda one: one[0].lower())
    if len(kept) < 32:
        raise InputRejected("installed packages", f"expected 32 long descriptions, found {len(kept)}", "install more")
    return Documents(
        names=tuple(name for name, _ in kept), texts=tuple(text for _, text in kept), origin="package descriptions"
    )


def _description(package: metadata.Distribution) -> str:
    facts: Any = package.metadata
    return str(facts.get("Description") or facts.get_payload() or "")


def prose(text: str) -> str:
    """Paragraphs of plain sentences, a line each.

    Args:
        text: Markdown or reStructuredText.
    """
    bare = re.sub(r"```.*?```|<!--.*?-->", "", text, flags=re.DOTALL)
    kept = []
    for paragraph in re.split(r"\n\s*\n", bare):
        if paragraph.startswith(("    ", "\t", ".. ", "#", "!", "[!")):
            continue
        line = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(paragraph.split()))
        line = re.sub(r"`+([^`]*)`+_*", r"\1", line)
        line = re.sub(r"[*_]{1,2}([^*_]+)[*_]{1,2}", r"\1", line)
        letters = sum(one.isalpha() or one.isspace() for one in line)
        if len(line) < LEAST_PARAGRAPH or letters < LEAST_LETTERS * len(line) or any(p in line for p in _LEFT_OUT):
            continue
        kept.append(line)
    return "\n".join(kept)
