"""Figure and comparisons of derived_training.md: ``python docs/experiments/derived_training.py SWEEP``."""

from __future__ import annotations

import sys
from pathlib import Path

import altair
import polars

from heedful.training.sweeps.folder import SweepFolder
from heedful.training.sweeps.table import over_documents

FIGURES = Path(__file__).parent / "figures"
PAIRS = (
    ("published", "published, none"),
    ("published, kept", "published, kept, none"),
    ("content, frozen", "none"),
    ("offset, frozen", "none"),
    ("learnt", "none"),
    ("learnt", "none, wide"),
    ("all learnt", "learnt"),
    ("content, start", "learnt"),
    ("content, embeddings learnt", "content, frozen"),
    ("content, embeddings learnt", "all learnt, none"),
    ("content, embeddings linked", "content, frozen"),
    ("one layer, offset", "one layer, none"),
    ("one layer, offset", "one layer, learnt"),
)


def main(sweep: Path) -> None:
    """Print each pair's difference over documents, and draw them."""
    folder = SweepFolder(sweep)
    plan = folder.plan()
    found = []
    for cell, against in PAIRS:
        rows = over_documents(plan, folder, {"cell": against}).filter(polars.col("cell") == cell)
        if len(rows) and rows["against_low"][0] is not None:
            numbers = [rows[f"against_{name}"][0] for name in ("first", "low", "high")]
            found.append((f"{cell}  -  {against}", *numbers))
            sys.stdout.write("{}: {:.4f} [{:.4f}, {:.4f}]\n".format(*found[-1]))
    chart = drawn(found)
    chart.save(FIGURES / "derived_training.svg")
    chart.save(FIGURES / "derived_training.png", ppi=110)


def drawn(found: list[tuple[str, float, float, float]]) -> altair.LayerChart:
    """A line a pair on a scale that is linear up to .01 and logarithmic beyond."""
    rows = [
        {"pair": name, "middle": middle, "low": low, "high": high,
         "verdict": "better" if high < 0 else "worse" if low > 0 else "open"}
        for name, middle, low, high in found
    ]  # fmt: skip
    scale = altair.Scale(type="symlog", constant=0.01, domain=[-1.5, 1.5], nice=False)
    ticks = altair.Axis(values=[-1, -0.1, -0.01, 0, 0.01, 0.1, 1], format="g")
    title = "difference of held-out loss, nats a character; 95 % over chapters, left is better"
    base = altair.Chart(altair.Data(values=rows)).encode(
        y=altair.Y("pair:N", sort=[name for name, *_ in found], title=None, axis=altair.Axis(labelLimit=400)),
        color=altair.Color(
            "verdict:N",
            legend=None,
            scale=altair.Scale(domain=["better", "worse", "open"], range=["#1b7837", "#b2182b", "#666666"]),
        ),
    )
    bars = base.mark_rule(strokeWidth=3).encode(
        x=altair.X("low:Q", scale=scale, axis=ticks, title=title), x2=altair.X2("high:Q")
    )
    points = base.mark_point(filled=True, size=60, opacity=1).encode(x=altair.X("middle:Q", scale=scale))
    zero = altair.Chart(altair.Data(values=[{"zero": 0}])).mark_rule(color="#888888").encode(x="zero:Q")
    return (zero + bars + points).properties(width=420, height=24 * len(found), background="white")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
