"""Docstrings in Google style to Markdown: formulas become MathML, literals become code, sections become lists."""

from __future__ import annotations

import html
import inspect
import re
import textwrap
from typing import Any

SECTIONS = ("Args", "Returns", "Raises", "Yields", "Attributes", "Example", "Examples")
LEADS = {"Reading": "How to read it.", "Pitfall": "Pitfall."}
TITLES = {"Args": "Arguments", "Attributes": "Attributes", "Returns": "Returns", "Raises": "Raises"}


def markdown(documented: Any, level: int = 3, leave_out: tuple[str, ...] = ()) -> str:
    """The docstring of a class or function as Markdown; the empty string where there is none.

    Args:
        documented: A class, a function, or a docstring.
        level: Of the headings of its sections; 0: bold words in their place.
        leave_out: Sections that are not shown.
    """
    text = documented if isinstance(documented, str) else inspect.getdoc(documented) or ""
    body, sections = parts(text)
    made = [prose(body)]
    for name, content in sections:
        if name in leave_out:
            continue
        shown = TITLES.get(name, name)
        title = f"{'#' * level} {shown}" if level else f"**{shown}.**"
        if name in ("Args", "Attributes", "Raises"):
            made += [title, "\n".join(f"- {code(term)}: {inline(what)}" for term, what in entries(content))]
        else:
            made += [title, prose(content)]
    return "\n\n".join(part for part in made if part.strip()) + "\n"


def summary(documented: Any) -> str:
    """The first sentence of a docstring, as Markdown."""
    text = documented if isinstance(documented, str) else inspect.getdoc(documented) or ""
    return inline(text.split("\n\n")[0])


def parts(text: str) -> tuple[str, list[tuple[str, str]]]:
    """What stands before the first section, and each section with its content."""
    pieces = re.split(rf"^({'|'.join(SECTIONS)}):[ \t]*$", text, flags=re.MULTILINE)
    return pieces[0].strip(), [
        (name, textwrap.dedent(content.strip("\n"))) for name, content in zip(pieces[1::2], pieces[2::2], strict=True)
    ]


def entries(content: str) -> list[tuple[str, str]]:
    """Term and explanation of each entry of a section; further lines of an entry are indented."""
    found: list[tuple[str, str]] = []
    for line in content.splitlines():
        if line and not line[0].isspace():
            term, _, rest = line.partition(":")
            found.append((term.strip(), rest.strip()))
        elif line.strip() and found:
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
    return found


def prose(text: str) -> str:
    """Paragraphs, formulas, lists and code of a docstring as Markdown."""
    made = []
    for block in _blocks(text):
        if block.lstrip().startswith(">>>"):
            made.append(f"```pycon\n{textwrap.dedent(block)}\n```")
        elif block.startswith(".. math::"):
            made.append(formula(block.removeprefix(".. math::")))
        elif block.startswith(("    ", "\t")):
            made.append(f"```text\n{textwrap.dedent(block)}\n```")
        elif block.lstrip().startswith(("- ", "* ")):
            made.append(
                "\n".join(inline(line) if line[:1] in "-*" else f"  {inline(line)}" for line in block.splitlines())
            )
        else:
            made += [
                inline(re.sub(r"::$", ":", piece))
                for piece in re.split(r"^(?=(?:Reading|Pitfall): )", block, flags=re.MULTILINE)
                if piece
            ]
    return "\n\n".join(made)


def _blocks(text: str) -> list[str]:
    """Blocks between blank lines; blank lines within a doctest or below a formula don't divide it."""
    blocks: list[str] = []
    for block in re.split(r"\n[ \t]*\n", text.strip("\n")):
        joined = blocks and (
            (blocks[-1].lstrip().startswith(">>>") and block.lstrip().startswith((">>>", "...")))
            or (blocks[-1].strip() == ".. math::" and block.startswith(" "))
        )
        if joined:
            blocks[-1] = f"{blocks[-1]}\n{block}"
        elif "\n.. math::" in block:
            before, _, after = block.partition("\n.. math::")
            blocks += [before, f".. math::{after}"]
        else:
            blocks.append(block)
    return [block for block in blocks if block.strip()]


def formula(text: str) -> str:
    """A formula as MathML, which browsers draw without a script or a network."""
    from latex2mathml.converter import convert

    latex = " ".join(text.split())
    drawn = convert(re.sub(r"\\(log|exp|ln|max|min)\s+(?=[A-Za-z])", r"\\\1\\,", latex), display="block")
    return f'<div class="formula" role="img" aria-label="{html.escape(latex, quote=True)}">{drawn}</div>'


def inline(text: str) -> str:
    """One paragraph: literals become code, everything else is plain text."""
    one = " ".join(text.split())
    lead = re.match(r"(Reading|Pitfall): ", one)
    if lead:
        rest = one[lead.end() :]
        return f"**{LEADS[lead[1]]}** {inline(rest[:1].upper() + rest[1:])}"
    one = re.sub(r":(?:class|func|meth|mod|attr|data):`~?([^`]+)`", r"``\1``", one)
    one = re.sub(r":math:`([^`]+)`", r"``\1``", one)
    pieces = re.split(r"(``.+?``)", one)
    return "".join(code(piece[2:-2]) if piece.startswith("``") else escaped(piece) for piece in pieces)


def code(text: str) -> str:
    """A literal."""
    return f"`{text.strip()}`" if text.strip() else ""


def escaped(text: str) -> str:
    """Plain text, of which Markdown and HTML make nothing else; single backticks stay code."""
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(
        piece if piece.startswith("`") else re.sub(r"([*_\[\]|\\])", r"\\\1", html.escape(piece, quote=False))
        for piece in pieces
    )


def cell(text: str) -> str:
    """Text for a cell of a table, already Markdown."""
    return " ".join(text.replace("|", "\\|").split()) if "\\|" not in text else " ".join(text.split())
