"""Page on what was counted: text, tokenizer, and one row per table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TextIO

from heedful.reporting.pages.part import Page, PagePart
from heedful.reporting.paragraph import BLANK, Line, Sheet, aligned, line, paragraph, plain, sheet

if TYPE_CHECKING:
    from heedful.ngrams.counting.count import CountSummary
    from heedful.ngrams.counting.manifest import Manifest, TableFacts

TITLE = "COUNTS OF N-GRAMS"
LEGEND = (
    "positions: what was counted; contexts, pairs: how many distinct ones; once: share of the pairs that stood once; "
    "coverage: estimated chance that the next pair of such a text is among these (Good 1953); density: share of "
    "entries that are not 0, in rows of observed contexts."
)
_COLUMNS = (("n", 2), ("skip", 5), ("positions", 13), ("contexts", 12), ("pairs", 12), ("once", 8), ("coverage", 9))
_LAST = ("density", 9)
_NAMED = 3
_DIGITS = 12


def count_lines(found: Manifest, page: Sheet, seconds: float | None = None) -> list[Line]:
    """Return the whole page as styled lines.

    Args:
        found: What was counted.
        page: What to write on.
        seconds: How long it took; None where it is not known.

    Returns:
        Lines of styled segments.
    """
    rule = line("=" * page.width)
    lines = [rule, line(TITLE, "bold"), rule]
    for word, text in _facts(found, seconds):
        lines += paragraph(page.text(text), page.width, indent=" " * 12, first=aligned(word, 12))
    lines += [BLANK, line(_row([name for name, _ in (*_COLUMNS, _LAST)]), "bold")]
    lines += [line(_row(_cells(table, found.vocabulary))) for table in found.tables if table.n]
    lines += [BLANK, *paragraph(LEGEND, page.width, style="dim")]
    for note in found.notes:
        lines += paragraph(page.text(f"note: {note}"), page.width)
    return [*lines, rule]


def count_page(found: CountSummary) -> Page:
    """Build the page for HTML and JSON.

    Args:
        found: What was counted.
    """
    facts = "; ".join(f"{word}: {text}" for word, text in _facts(found.manifest, found.seconds))
    rows = [tuple(_cells(table, found.manifest.vocabulary)) for table in found.manifest.tables if table.n]
    return Page(
        title="Counts of n-grams",
        subject=facts,
        parts=[
            PagePart(title="Tables", header=tuple(name for name, _ in (*_COLUMNS, _LAST)), rows=rows, text=LEGEND),
            *(PagePart(title="Note", text=note) for note in found.manifest.notes),
        ],
    )


def count_text(found: Manifest, seconds: float | None = None, *, columns: int = 80, encoding: str = "utf-8") -> str:
    """Return the page as plain text that ``encoding`` can represent."""
    return plain(count_lines(found, sheet(columns, encoding), seconds))


def print_counts(found: Manifest, seconds: float | None = None, stream: TextIO | None = None) -> None:
    """Print the page, in colour if the stream is a terminal that supports it."""
    import sys

    from heedful.reporting.terminal import print_lines, stream_sheet

    out = stream or sys.stdout
    print_lines(count_lines(found, stream_sheet(out), seconds), out)


def _facts(found: Manifest, seconds: float | None) -> list[tuple[str, str]]:
    names = [text.name for text in found.texts]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    size = sum(text.bytes for text in found.texts)
    seen = next((table.pairs for table in found.tables if not table.n), 0)
    facts = [
        ("text", f"{', '.join(names[:_NAMED])}{more}: {size:,} bytes, {_many(found.documents, 'document')}"),
        ("tokenizer", f"{found.tokenizer}: {found.vocabulary:,} tokens, fingerprint {found.fingerprint[:_DIGITS]}"),
        ("tokens", f"{found.tokens:,}; {seen:,} of the {found.vocabulary:,} seen; {found.unknown:,} unknown"),
    ]
    if seconds:
        facts.append(("speed", f"{found.tokens / seconds:,.0f} tokens a second, {seconds:.1f} s"))
    return facts


def _many(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _cells(table: TableFacts, vocabulary: int) -> list[str]:
    whole = [f"{value:,}" for value in (table.n, table.skip, table.total, table.contexts, table.pairs)]
    once = table.once / table.pairs if table.pairs else math.nan
    return [*whole, *(_share(value) for value in (once, table.coverage, table.density(vocabulary)))]


def _share(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{100 * value:.1f} %" if value >= 0.01 or not value else f"{100 * value:.2g} %"


def _row(texts: list[str]) -> str:
    return "".join(aligned(text, width, right=True) for text, (_, width) in zip(texts, (*_COLUMNS, _LAST), strict=True))
