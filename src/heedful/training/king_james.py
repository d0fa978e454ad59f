"""The King James Bible as documents, one per chapter.

The text comes from Debian's package ``bible-kjv``, whose program prints one verse a line, each behind its reference
(``Ge1:1 In the beginning ...``). The translation is of 1611 and in the public domain.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from heedful.errors import InputRejected

BOOKS = {
    "Ge": "Genesis", "Exo": "Exodus", "Lev": "Leviticus", "Num": "Numbers", "Deu": "Deuteronomy", "Josh": "Joshua",
    "Jdgs": "Judges", "Ruth": "Ruth", "1Sm": "1 Samuel", "2Sm": "2 Samuel", "1Ki": "1 Kings", "2Ki": "2 Kings",
    "1Chr": "1 Chronicles", "2Chr": "2 Chronicles", "Ezra": "Ezra", "Neh": "Nehemiah", "Est": "Esther", "Job": "Job",
    "Psa": "Psalm", "Prv": "Proverbs", "Eccl": "Ecclesiastes", "SSol": "Song of Solomon", "Isa": "Isaiah",
    "Jer": "Jeremiah", "Lam": "Lamentations", "Eze": "Ezekiel", "Dan": "Daniel", "Hos": "Hosea", "Joel": "Joel",
    "Amos": "Amos", "Obad": "Obadiah", "Jonah": "Jonah", "Mic": "Micah", "Nahum": "Nahum", "Hab": "Habakkuk",
    "Zep": "Zephaniah", "Hag": "Haggai", "Zec": "Zechariah", "Mal": "Malachi", "Mat": "Matthew", "Mark": "Mark",
    "Luke": "Luke", "John": "John", "Acts": "Acts", "Rom": "Romans", "1Cor": "1 Corinthians", "2Cor": "2 Corinthians",
    "Gal": "Galatians", "Eph": "Ephesians", "Phi": "Philippians", "Col": "Colossians", "1Th": "1 Thessalonians",
    "2Th": "2 Thessalonians", "1Tim": "1 Timothy", "2Tim": "2 Timothy", "Titus": "Titus", "Phmn": "Philemon",
    "Heb": "Hebrews", "Jas": "James", "1Pet": "1 Peter", "2Pet": "2 Peter", "1Jn": "1 John", "2Jn": "2 John",
    "3Jn": "3 John", "Jude": "Jude", "Rev": "Revelation",
}  # fmt: skip
"""The program's abbreviation of each of the 66 books, and the name a reader knows it by."""

WHOLE = "gen1:1-rev22:21"
"""What to ask the program for: the first verse to the last."""

VERSE = re.compile(r"(?P<book>[1-3]?[A-Za-z]+)(?P<chapter>\d+):(?P<verse>\d+) (?P<text>.*)")


@dataclass(frozen=True)
class Chapter:
    """One chapter as a document: one verse per line, without references."""

    book: str
    number: int
    text: str

    @property
    def id(self) -> str:
        """Name of the chapter, such as ``Genesis 12``."""
        return f"{self.book} {self.number}"

    @property
    def bytes(self) -> int:
        """Length of the text in UTF-8 bytes."""
        return len(self.text.encode())


def read_king_james(file: Path | None = None) -> str:
    """Return the whole King James Bible, one verse per line after its reference.

    Args:
        file: What ``bible -f 'gen1:1-rev22:21'`` printed, kept in a file; ``None`` runs the program.

    Returns:
        The printed text, 31,102 lines.

    Raises:
        InputRejected: The program is not installed, or the file is not there.
    """
    if file is not None:
        if not file.is_file():
            raise InputRejected(str(file), "no such file", f"write it by: bible -f {WHOLE!r} > FILE")
        return file.read_text(encoding="utf-8")
    program = shutil.which("bible")
    if program is None:
        raise InputRejected("bible", "the program is not installed", "apt-get install bible-kjv")
    return subprocess.run([program, "-f", WHOLE], capture_output=True, check=True, encoding="utf-8").stdout


def parse_chapters(printed: str) -> list[Chapter]:
    """Return the chapters in text order, without references and repeated blanks.

    Args:
        printed: Lines such as ``Ge1:1 In the beginning God created the heaven and the earth.``

    Returns:
        One chapter for each run of verses that share book and chapter number.

    Raises:
        InputRejected: A line has no reference or names an unknown book, or there is no line.
    """
    verses = []
    for number, line in enumerate(printed.splitlines(), start=1):
        if not line.strip():
            continue
        found = VERSE.fullmatch(line)
        if found is None or found["book"] not in BOOKS:
            raise InputRejected(f"line {number}", f"expected a verse such as 'Ge1:1 In the', got {line[:60]!r}")
        verses.append((BOOKS[found["book"]], int(found["chapter"]), " ".join(found["text"].split())))
    if not verses:
        raise InputRejected("King James text", "expected verses, got none", f"bible -f {WHOLE!r}")
    return [
        Chapter(book, chapter, "\n".join(text for _, _, text in run))
        for (book, chapter), run in groupby(verses, key=lambda verse: verse[:2])
    ]


class Split(NamedTuple):
    """Training and held-out chapters, each in text order."""

    training: list[Chapter]
    held_out: list[Chapter]


def hold_out(chapters: list[Chapter], seed: int = 0, minimum_bytes: int = 2048) -> Split:
    """Hold out one sufficiently long chapter from every book with several chapters.

    Args:
        chapters: All chapters.
        seed: Seed of the draw.
        minimum_bytes: Chapters shorter than this are never held out.

    Returns:
        Both parts; no chapter is in neither or in both.
    """
    draw = random.Random(seed)
    drawn = set()
    for _, run in groupby(chapters, key=lambda chapter: chapter.book):
        book = list(run)
        long_enough = [chapter.id for chapter in book if chapter.bytes >= minimum_bytes]
        if len(book) > 1 and long_enough:
            drawn.add(draw.choice(long_enough))
    return Split([c for c in chapters if c.id not in drawn], [c for c in chapters if c.id in drawn])
