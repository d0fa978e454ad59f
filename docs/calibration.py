"""The stored calibration as a page and the table behind it: ``python docs/calibration.py docs/calibration.json``.

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


def results(document: Row) -> str:
    """One page: what was promised, what is broken, what was hardly tested, and the worst rate of every claim."""
    promises, plan = document["promises"], document["plan"]
    hours = document["seconds"] / 3600
    lines = [
        "# Calibration",
        "",
        "How often verdicts are wrong, simulated. Written by `docs/calibration.py` from `docs/calibration.json`, which "
        f"`heedful lab calibrate --repetitions {plan['repetitions']} --seed {plan['seed']}` wrote for lengths of "
        f"{', '.join(map(str, plan['lengths']))} tokens in {hours:.1f} hours. Every rate at every length: "
        "[the table](calibration-table.md).",
        "",
        "Margins are put where the truth is: an interval may lie beyond its margin in 2.5 % of trials on either side, "
        "any head of a family in 5 %. A promise is pooled over the lengths. It is broken where its interval, adjusted "
        "for all promises (Bonferroni), lies on the wrong side. *Caught* is the rate that this run would have shown to "
        "break the promise with 80 %: a promise whose caught rate is far from it was hardly tested.",
        "",
        f"**{len(promises)} promises, {document['broken']} broken.** {document['blunt']} were hardly tested: an error "
        "of twice the promise could have passed. The whole run: `make calibration` (16 to 2048 tokens).",
        "",
    ]
    for rate in promises:
        if not rate["kept"]:
            place = ", ".join(str(x) for x in (rate["world"], SIDE[rate["causal"]]) if x)
            lines.append(f"- **{rate['claim']}**, {place}: {rate['event']} {cell(rate)}, promised {promise(rate)}")
    lines += ["", "| claim | promises | worst error | promised | caught | least power | promised | caught |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for claim in dict.fromkeys(rate["claim"] for rate in promises):
        mine = [rate for rate in promises if rate["claim"] == claim and rate["nominal"] < 1.0]
        errors = [rate for rate in mine if rate["promise"] == "at most"]
        powers = [rate for rate in mine if rate["promise"] == "at least"]
        worst = max(errors, key=lambda rate: (rate["rate"] - rate["nominal"], rate["rate"]), default=None)
        least = min(powers, key=lambda rate: rate["rate"], default=None)
        count = sum(rate["claim"] == claim for rate in promises)
        lines.append(f"| {claim} | {count} | {_three(worst)} | {_three(least)} |")
    lines += ["", "## Without a test", ""]
    lines += [f"- **{claim}**: {why}" for claim, why in document["untested"].items()]
    return "\n".join(lines) + "\n"


def _three(rate: Row | None) -> str:
    """Rate with its interval, promise and what would have been caught."""
    if rate is None:
        return "- | - | -"
    caught = "none" if rate["caught"] is None else percent(rate["caught"])
    return f"{cell(rate)} {rate['event']}, {rate['world']} | {100 * rate['nominal']:g} | {caught}"


def table(document: Row) -> str:
    """The table behind: every promise pooled with what it would have caught, then every rate by length."""
    lines = [
        "# Calibration: the table",
        "",
        "In per cent, with 95 % intervals and trials; see [the results](calibration.md).",
    ]
    for claim in dict.fromkeys(rate["claim"] for rate in document["rates"]):
        mine = [rate for rate in document["promises"] if rate["claim"] == claim]
        lines += ["", f"## {claim}", "", "| event | on | promise | pooled | caught |", "|---|---|---|---|---|"]
        for rate in mine:
            caught = "none" if rate["caught"] is None else percent(rate["caught"])
            place = ", ".join(x for x in (rate["world"], SIDE[rate["causal"]]) if x)
            lines.append(f"| {rate['event']} | {place} | {promise(rate)} | {cell(rate)} | {caught} |")
        long = [rate for rate in document["rates"] if rate["claim"] == claim and rate["length"] is not None]
        lines += ["", *tables(long, document["plan"]["lengths"])] if long else []
    return "\n".join(lines + guide(document["guide"], document["plan"]["lengths"])) + "\n"


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
    mark = "" if rate.get("kept", True) else " **!**"
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
    found = json.loads(source.read_text(encoding="ascii"))
    source.with_suffix(".md").write_text(results(found), encoding="utf-8")
    source.with_name("calibration-table.md").write_text(table(found), encoding="utf-8")
