"""Draw a report as the picture that the README opens with.

python docs/picture.py REPORT.json docs/report.svg [--columns 80] [--lines 64]
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from rich.console import Console
from rich.text import Text

from heedful.evaluation.page.json_reader import from_json
from heedful.evaluation.page.terminal import terminal_text

COLOURS = {
    "✓ PASS": "green",
    "! WARN": "yellow",
    "✗ FAIL": "bold red",
    "SHARP": "green",
    "SELECTIVE": "cyan",
    "- SKIP": "dim",
    "· INFO": "dim",
}


def main() -> None:
    """Read a JSON report and write an SVG of the first and last lines of its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--columns", type=int, default=80)
    parser.add_argument("--lines", type=int, default=64)
    wanted = parser.parse_args()
    lines = terminal_text(from_json(wanted.report.read_text(encoding="utf-8")), columns=wanted.columns).splitlines()
    summary = lines.index("SUMMARY") - 1
    shown = [*lines[: wanted.lines], "  ...", *lines[summary:]]
    text = Text("\n".join(shown))
    for word, style in COLOURS.items():
        text.highlight_words([word], style)
    with Path("/dev/null").open("w", encoding="utf-8") as nowhere:
        console = Console(
            record=True, width=wanted.columns, file=nowhere, color_system="truecolor", force_terminal=True
        )
        console.print(text)
    drawn = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="heedful validate"), flags=re.DOTALL)
    wanted.picture.write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
