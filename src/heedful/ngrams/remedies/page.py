"""Page on remedies for derived attention.

Chart of a suite: each variant's KL divergence relative to equal weights.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from heedful.inference.mean_interval import TOO_FEW
from heedful.ngrams.alignment.page import COUNTED
from heedful.ngrams.remedies.page_models import (
    ALPHA,
    MODELS,
    SMALL,
    bounds,
    heads_alone,
    learnt_embeddings,
    models_message,
    models_verdict,
    number,
    remedy_verdict,
    settled,
    sharpness,
    small_widths,
)
from heedful.reporting.drawing import Drawn
from heedful.reporting.figure import BLUE, Figure, chart_of
from heedful.reporting.pages.part import Page, PagePart, Row
from heedful.reporting.quantity import NONE, count, share

if TYPE_CHECKING:
    from heedful.inference.mean_interval import Effect
    from heedful.ngrams.remedies.record import AblationSuite, Agreement, Remedy


LARGE = 1e4
"""From which on a number is written with its power of ten, so that a row stays one line."""

MARK = "*"
OPEN = "~"
HEADER = ("variant", "KL", "seeds", "skill", "95 %", "cos", "match")

WIDTHS = (
    "First word: embeddings (random; ppmi: PPMI vectors; m, log_p: query and key factors of M, or of log P weighed by "
    "frequency, side by side). Second: encoder (transpose; pinv, least squares; weighted, least squares weighed by "
    "frequency). Last: width, less than the vocabulary or about it. Best temperatures. Each is compared with random "
    "embeddings of its encoder and width, pinv with transpose, weighted with pinv."
)
"""What the variants of the group of small widths have in common."""


def remedy_page(record: AblationSuite) -> Page:
    """Build the page of a remedy suite.

    Args:
        record: What to show.
    """
    groups = list(dict.fromkeys(one.group for one in record.remedies))
    parts = [_reading(record), *(_group(record, name) for name in groups), _steps(record)]
    if any(one.unseen is not None for one in record.remedies):
        parts.append(_unseen(record))
    if record.models:
        parts.append(sharpness(record))
    if any(one.learnt is not None for one in record.models):
        parts.append(learnt_embeddings(record))
    parts += [_losses(record), _limits(record)]
    parts += [PagePart(title=title, text=text) for title, text in remedy_verdict(record)]
    if record.models:
        parts.append(PagePart(title="Verdict: given models", text=models_verdict(record)))
    subject = (
        f"{record.text}: {count(record.sequences, 'piece')} of {record.length} tokens of "
        f"{count(record.documents, 'document')}, beside the counts {record.counts}. Vocabulary {record.vocabulary}, "
        f"width {record.width}, {count(record.seeds, 'seed')}. Counts say what {record.rows:.0%} of the rows should "
        f"attend to; the others, and first rows, are left out. {COUNTED[record.text_was_counted]}"
    )
    return Page(title="Remedies of derived attention", subject=subject, parts=parts)


def _reading(record: AblationSuite) -> PagePart:
    focused = [one.name for one in record.remedies if one.misaligned]
    named = f" Here: {', '.join(focused)}." if focused else " Here: none."
    return PagePart(
        title="How to read it",
        text=(
            "Each variant changes one thing of an earlier one. KL: from the attention that the counts predict to the "
            "variant's own, in nats, mean over documents of the seeds' mean; seeds: its standard deviation over seeds. "
            "Skill: 1 less its quotient by the KL to equal weights: 1 exact, 0 as equal weights, below 0 worse; its "
            "interval is over documents. Match: rows whose most attended key is among the most expected, copies of a "
            f"token alike; by chance {_chance(record)}. Temperatures are fitted on other documents than those "
            "measured. Nothing is added to weights, so that the KL of a focused head that errs has no bound. "
            f"{MARK} marks attention that is focused and worse than equal weights.{named}"
        ),
        chart=partial(suite_chart, record),
    )


def _chance(record: AblationSuite) -> str:
    found = {(one.n, one.skip): one.agreement.chance.estimate for one in record.remedies}
    return ", ".join(
        f"{share(value)} of contexts of {n}{f', skip {skip}' if skip else ''}" for (n, skip), value in found.items()
    )


def _group(record: AblationSuite, name: str) -> PagePart:
    own = [one for one in record.remedies if one.group == name]
    messages = {SMALL: lambda: f"{WIDTHS} {small_widths(record)}", MODELS: lambda: models_message(record)}
    changes = " ".join(f"{one.name}: {one.change}{_from(one)}." for one in own)
    return PagePart(
        title=name.capitalize(),
        header=HEADER,
        rows=[_row(one, one.agreement) for one in own],
        text=messages[name]() if name in messages else changes,
    )


def _from(one: Remedy) -> str:
    return f" (after {one.step.against})" if one.step is not None else ""


def _row(one: Remedy, agreement: Agreement) -> Row:
    skill = agreement.skill
    return (
        one.name + (MARK if one.misaligned else ""),
        _digits(agreement.divergence.estimate),
        _digits(one.spread),
        _signed(skill.estimate),
        _bounds(skill),
        f"{agreement.cosine.estimate:.3f}",
        f"{agreement.match.estimate:.2f}",
    )


def _digits(value: float) -> str:
    if not math.isfinite(value):
        return NONE
    if value >= LARGE:
        return _power(value)
    return f"{value:.3f}" if value < 9.9995 else f"{value:.1f}"


def _power(value: float) -> str:
    """A large number to one digit: ``-4e7``."""
    return f"{value:.0e}".replace("e+0", "e").replace("e+", "e")


def _signed(value: float) -> str:
    if not math.isfinite(value):
        return NONE
    if abs(value) >= LARGE:
        return _power(value)
    shown = value if abs(value) >= 0.005 else 0.0  # never "-0.00"
    return f"{shown:+.2f}" if abs(value) < 9.995 else f"{value:+.0f}"


def _bounds(effect: Effect) -> str:
    return TOO_FEW if math.isnan(effect.low) else f"[{_signed(effect.low)}, {_signed(effect.high)}]"


def _steps(record: AblationSuite) -> PagePart:
    rows = [
        (
            one.name,
            ("" if settled(one.step) else OPEN) + one.step.against,
            number(one.step.gain.estimate),
            bounds(one.step.gain),
        )
        for one in record.remedies
        if one.step is not None
    ]
    return PagePart(
        title="Each change",
        header=("variant", "after", "gain", "95 %"),
        rows=rows,
        text=(
            "gain: how much less KL than the variant it changes, in nats, paired by document, with its own interval. "
            f"{OPEN} marks what is not told from no change at {ALPHA:.0%} for all rows together (sign flips, largest "
            "of all rows)."
        ),
    )


def _unseen(record: AblationSuite) -> PagePart:
    shown = [(one, one.unseen) for one in record.remedies if one.unseen is not None]
    return PagePart(
        title="Compared with counts of other text",
        header=HEADER,
        rows=[_row(one, agreement) for one, agreement in shown],
        text=(
            f"The same attention, temperatures as above, compared with what {record.unseen} predicts: counts that no "
            "variant was derived from. What is exact above by construction is measured here. seeds: as above."
        ),
    )


def _losses(record: AblationSuite) -> PagePart:
    rows = [
        (
            (OPEN if math.isfinite(one.p) and not settled(one) else "") + one.name,
            f"{one.loss.estimate:.3f}",
            f"{one.weight:.2f}" if math.isfinite(one.weight) else NONE,
            number(one.gain.estimate),
            bounds(one.gain),
        )
        for one in record.losses
    ]
    what_loss = "Held-out loss" if record.text_was_counted == "unknown" else "Loss on text that was counted"
    what = "; ".join(f"{one.name}: {one.attends}, {one.takes}" for one in record.losses)
    return PagePart(
        title="Heads alone, next token",
        header=("head", "loss", "mix", "gain", "95 %"),
        rows=rows,
        text=(
            f"{what_loss}, nat a token, of a frozen head and nothing else, mixed with token frequencies at a share "
            f"(mix) fitted on other documents. gain: over the bigram, paired by document; {OPEN}: not told from none "
            f"for all rows together. Where each looks and what it takes: {what}. {heads_alone(record)} A pattern by "
            "log P looks for likely next tokens, and what follows those is two steps ahead: it goes with copying. P "
            "goes with looking back a fixed number of tokens."
        ),
    )


def _limits(record: AblationSuite) -> PagePart:
    messages = [f"{name}: {why}." for name, why in record.skipped.items()] or ["Every variant was measured."]
    return PagePart(title="Not measured", text=" ".join([*messages, *(f"{note}." for note in record.notes)]))


LEAST, MOST = 1e-3, 1e3
"""Quotients beyond which a variant stands at an edge: exact on the left, certain of the wrong keys on the right."""

ROW = 13
"""Height of a variant."""

WIDTH, LETTER = 430, 6.3


def suite_chart(record: AblationSuite) -> Drawn:
    """Draw each variant's KL over that of equal weights, on a log scale; left of the dashed line at 1 is better.

    Args:
        record: What to draw.
    """
    import altair

    order = [one.name for one in record.remedies]
    base = chart_of([_dot(one) for one in record.remedies])
    scale = altair.Scale(type="log", domainMin=LEAST, clamp=True)
    room = LETTER * max(map(len, order), default=0)  # a reader's font may be wider than the drawing program's
    axis = altair.Axis(labelLimit=200, labelFontSize=10, grid=True, ticks=False, minExtent=room)
    y = altair.Y("variant:N", sort=order, title=None, axis=axis)
    x = altair.X("value:Q", scale=scale, title="KL over that of equal weights (1 = no better), log scale")
    made = altair.layer(
        chart_of([{"at": 1.0}])
        .mark_rule(color="ink", opacity=0.5, strokeDash=[3, 3])
        .encode(x=altair.X("at:Q", scale=scale)),
        base.mark_rule(strokeWidth=1.5, color=BLUE).encode(x=altair.X("low:Q", scale=scale), x2="high:Q", y=y),
        base.mark_point(filled=True, size=42, opacity=1, color=BLUE).encode(x=x, y=y),
    ).properties(width=WIDTH, height=ROW * len(order))
    return Drawn(Figure(name="remedies", title="Remedies, variant by variant", caption="", chart=lambda _: made), made)


def _dot(one: Remedy) -> dict[str, Any]:
    """The quotient of means, and the bounds of the skill, whose other side it is."""
    skill = one.agreement.skill
    low, value, high = (min(MOST, max(LEAST, 1 - bound)) for bound in (skill.high, skill.estimate, skill.low))
    return {"variant": one.name, "value": value, "low": low, "high": high}
