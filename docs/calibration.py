"""The stored calibration as a page: ``python docs/calibration.py docs/calibration.json`` writes it beside the file.

The file itself comes from ``heedful lab calibrate --repetitions 24 --json docs/calibration.json``.
"""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

Row = dict[str, Any]
SIDE = {None: "", True: "causal", False: "both ways"}


def percent(share: float) -> str:
    """A share as per cent."""
    return f"{100 * share:.1f}"


def page(document: Row) -> str:
    """Markdown: what was promised and broken, a table a claim, the older guide's answers."""
    rates, plan = document["rates"], document["plan"]
    lines = [
        "# Calibration",
        "",
        "Written by `docs/calibration.py` from `docs/calibration.json`, which `heedful lab calibrate` wrote "
        f"(`--repetitions {plan['repetitions']} --seed {plan['seed']}`).",
        "",
        "Margins are put where the truth is: an interval may lie beyond its margin in 2.5 % of trials on either side. "
        "Every rate is in per cent, with its 95 % Clopper-Pearson interval (heads of one study count for what they are "
        "worth together, by their design effect) and the number of trials. A promise counts "
        "as broken where the interval, adjusted for all rates (Bonferroni), lies on the wrong side.",
        "",
        f"{len(rates)} rates; {document['broken']} promises do not stand.",
        "",
    ]
    for rate in rates:
        if not rate["kept"]:
            place = ", ".join(str(x) for x in (rate["world"], SIDE[rate["causal"]], rate["length"]) if x)
            lines.append(f"- **{rate['claim']}**, {place}: {rate['event']} {cell(rate)}, promised {promise(rate)}")
    claims = list(dict.fromkeys(rate["claim"] for rate in rates))
    for claim in claims:
        lines += ["", f"## {claim}", ""]
        mine = [rate for rate in rates if rate["claim"] == claim]
        lines += tables(mine, plan["lengths"])
    lines += ["", "## Without a test", ""]
    lines += [f"- **{claim}**: {why}" for claim, why in document["untested"].items()]
    lines += guide(document["guide"], plan["lengths"])
    return "\n".join(lines) + "\n"


def tables(rates: list[Row], lengths: list[int]) -> list[str]:
    """One table over lengths, one of what has none."""
    long = [rate for rate in rates if rate["length"] is not None]
    lines = []
    if long:
        lines += ["| event | on | promise | " + " | ".join(f"N = {n}" for n in lengths) + " |"]
        lines += ["|---|---|---|" + "---|" * len(lengths)]
        for (event, world, causal), group in groupby(
            sorted(long, key=lambda r: (r["event"], r["world"], str(r["causal"]))),
            key=lambda r: (r["event"], r["world"], r["causal"]),
        ):
            found = {rate["length"]: rate for rate in group}
            first = next(iter(found.values()))
            cells = [cell(found[n]) if n in found else "-" for n in lengths]
            lines.append(f"| {event} | {world}, {SIDE[causal]} | {promise(first)} | " + " | ".join(cells) + " |")
    short = [rate for rate in rates if rate["length"] is None]
    if short:
        lines += ["", "| event | on | promise | rate | effect |", "|---|---|---|---|---|"]
        for r in short:
            lines.append(f"| {r['event']} | {r['world']} | {promise(r)} | {cell(r)} | {r['effect']} |")
    return lines


def promise(rate: Row) -> str:
    """What was promised, in words."""
    return f"{rate['promise']} {100 * rate['nominal']:g}"


def cell(rate: Row) -> str:
    """A rate with its interval and trials."""
    low, high = rate["interval"]
    mark = "" if rate["kept"] else " **!**"
    return f"{percent(rate['rate'])} [{percent(low)}, {percent(high)}] ({rate['trials']}){mark}"


def guide(answers: list[Row], lengths: list[int]) -> list[str]:
    """What an older guide's thresholds answer to the same attention."""
    lines = ["", "## What an older guide answers to the same attention", "", "Per cent of answers that are yes.", ""]
    lines += ["| rule | attention | " + " | ".join(f"N = {n}" for n in lengths) + " |"]
    lines += ["|---|---|" + "---|" * len(lengths)]
    places = dict.fromkeys((one["rule"], one["world"], one["causal"]) for one in answers)
    for rule, world, causal in places:
        found = {
            one["length"]: 100 * one["count"] / one["trials"]
            for one in answers
            if (one["rule"], one["world"], one["causal"]) == (rule, world, causal)
        }
        cells = [f"{found[n]:.0f}" if n in found else "-" for n in lengths]
        lines.append(f"| {rule} | {world}, {SIDE[causal]} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    source = Path(sys.argv[1])
    source.with_suffix(".md").write_text(page(json.loads(source.read_text(encoding="ascii"))), encoding="utf-8")
