"""Format a calibration as a text table of 80 columns, and as a JSON-compatible dict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from heedful.evaluation.calibration.calibrate import Answers, Calibration
from heedful.evaluation.calibration.rate import AT_LEAST, Rate, pooled

SCHEMA = "heedful.calibration/2"
WIDTH, LABEL, CELL = 80, 26, 4


def lines(calibration: Calibration) -> list[str]:
    """Return the table as lines: a block for each claim, a line for each event and world, a column for each length.

    Args:
        calibration: What was found.

    Returns:
        Lines of at most 80 columns.
    """
    plan, tests = calibration.plan, len(calibration.promises)
    found = [
        f"{plan.repetitions} repetitions up to 256 tokens, fewer beyond; seed {plan.seed}; per cent of trials.",
        "c causal, b both ways. After the lengths: all pooled, 95 % interval, promise.",
        f"! at a promise that is broken, {tests} of them looked at together, pooled over lengths.",
        "~ the error rate (or power) that this run would have caught with 80 %.",
    ]
    for claim, group in groupby(sorted(calibration.rates, key=_by_claim(calibration)), key=lambda rate: rate.claim):
        found += ["", claim]
        rates = list(group)
        for event in dict.fromkeys(rate.event for rate in rates):
            found += _event([rate for rate in rates if rate.event == event], plan.lengths, tests)
    for claim, why in calibration.untested.items():
        found += ["", claim, *_wrapped(f"no test: {why}")]
    found += _guide(calibration.answers, plan.lengths)
    broken = calibration.broken
    message = "every promise stands" if not broken else f"{len(broken)} of {tests} promises do not stand"
    found += ["", f"{tests} promises: {message}."]
    found += [f"{len(calibration.blunt)} of them were hardly tested: an error of twice the promise could have passed."]
    found += [f"  ! {rate.claim}, {rate.world}{_at(rate)}: {rate.event} {_percent(rate.share)} %" for rate in broken]
    return [line for one in found for line in ([one] if len(one) <= WIDTH else _wrapped(one.strip()))]


def to_document(calibration: Calibration) -> dict[str, Any]:
    """Return the whole calibration as a JSON-compatible dict; only ``seconds`` differs between two equal runs."""
    return {
        "schema": SCHEMA,
        "plan": {**asdict(calibration.plan), "claims": list(calibration.plan.wanted)},
        "promises": [_row(rate, len(calibration.promises)) for rate in calibration.promises],
        "rates": [
            {**asdict(rate), "rate": rate.share, "interval": list(rate.interval())} for rate in calibration.rates
        ],
        "guide": [asdict(one) for one in calibration.answers],
        "untested": dict(calibration.untested),
        "broken": len(calibration.broken),
        "blunt": len(calibration.blunt),
        "seconds": round(calibration.seconds, 1),
    }


def _row(rate: Rate, tests: int) -> dict[str, Any]:
    """A promise pooled over the lengths, with what would have broken it."""
    caught = rate.caught(tests)
    return {
        **asdict(rate),
        "rate": rate.share,
        "interval": list(rate.interval()),
        "kept": rate.kept(tests),
        "caught": caught if caught == caught else None,
    }


def _by_claim(calibration: Calibration) -> Any:
    from heedful.evaluation.nine_sections import ORDER

    known = {claim: place for place, claim in enumerate(ORDER)}
    return lambda rate: (known.get(rate.claim, len(known)), rate.claim)


def _event(rates: Sequence[Rate], lengths: Sequence[int], tests: int) -> list[str]:
    """An event's heading, and a line for each world."""
    columns = "".join(f"{length:>{CELL + 1}}" for length in lengths) if rates[0].length is not None else ""
    found = [f"  {rates[0].event:<{LABEL - 2}}" + columns if len(columns) <= 45 else f"  {rates[0].event}"]
    if len(found[0]) > WIDTH or (columns and len(rates[0].event) > LABEL - 3):
        found = [f"  {rates[0].event}", " " * LABEL + columns] if columns else [f"  {rates[0].event}"]
    for world, causal in dict.fromkeys((rate.world, rate.causal) for rate in rates):
        mine = [rate for rate in rates if (rate.world, rate.causal) == (world, causal)]
        whole = pooled(mine)
        low, high = whole.interval()
        sign = ">=" if whole.promise == AT_LEAST else "<="
        message = f" {_percent(whole.share)} [{_percent(low)} {_percent(high)}] {sign}{100 * whole.nominal:g}"
        caught = whole.caught(tests)
        message += f" ~{_percent(caught)}" if caught == caught else " ~none"
        mark = {None: "", True: " c", False: " b"}[causal]
        cells = "".join(f"{_cell(mine, length):>{CELL + 1}}" for length in lengths) if columns else ""
        if not whole.kept(tests):
            message += " !"
        label = f"    {world}{mark}"
        row = f"{label:<{LABEL if columns else 20}}{cells}"
        found += [row + message] if len(row + message) <= WIDTH else [row, f"{'all':>{LABEL}}{message}"]
    return found


def _cell(rates: Sequence[Rate], length: int) -> str:
    mine = [rate for rate in rates if rate.length == length]
    if not mine:
        return "-"
    return _percent(mine[0].share)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.0995 or share == 0 else f"{100 * share:.1f}"


def _at(rate: Rate) -> str:
    side = {None: "", True: ", causal", False: ", both ways"}[rate.causal]
    return side + (f", {rate.length} tokens" if rate.length else "")


def _guide(answers: Sequence[Answers], lengths: Sequence[int]) -> list[str]:
    """What the older guide answers, per cent yes."""
    if not answers:
        return []
    found = ["", "What an older guide's thresholds answer to the same attention (per cent yes)"]
    for rule in dict.fromkeys(one.rule for one in answers):
        found += [f"  {rule:<{LABEL - 2}}" + "".join(f"{length:>{CELL + 1}}" for length in lengths)]
        for world, causal in dict.fromkeys((one.world, one.causal) for one in answers if one.rule == rule):
            mine = {one.length: one for one in answers if (one.rule, one.world, one.causal) == (rule, world, causal)}
            shown = [f"{100 * mine[n].count / mine[n].trials:.0f}" if n in mine else "-" for n in lengths]
            label = f"    {world} {'c' if causal else 'b'}"
            found.append(f"{label:<{LABEL}}" + "".join(f"{cell:>{CELL + 1}}" for cell in shown))
    return found


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
