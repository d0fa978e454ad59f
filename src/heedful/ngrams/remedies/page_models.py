"""Page text on given models: their heads and trained embeddings.

Write the conclusions from a suite's numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from heedful.inference.mean_interval import FEWEST_FOR_CLAIM, TOO_FEW
from heedful.reporting.pages.part import PagePart
from heedful.reporting.quantity import NONE, count

if TYPE_CHECKING:
    from heedful.inference.mean_interval import Effect
    from heedful.ngrams.remedies.record import AblationSuite, GivenModel, HeadLoss, Remedy, Step


def models_message(record: AblationSuite) -> str:
    """Return the paragraph below the table of given models' heads.

    Args:
        record: The suite.
    """
    messages = [f"{one.name}: {one.told}{_comparison(one)} ({_folders(one)})." for one in record.models]
    own = [one for one in record.remedies if one.group == MODELS]
    against = _compared_models([one for one in own if ":L" in one.name])
    nearest = " ".join(f"{one.name}: {one.change}." for one in own if "nearest of all heads" in one.change)
    ending = f" {nearest}" if nearest else ""
    return (
        f"Heads of models that were given, layer and head after the name, on the same pieces. {' '.join(messages)} "
        f"Compared with counts of: {against or 'none'}. seeds: over the folders of one model; "
        f"no seed drawn here.{ending}"
    )


def _compared_models(heads: Sequence[Remedy]) -> str:
    """Counts and the heads beside them, by place alone where a place means the same in every model."""
    pairs: dict[str, set[tuple[int, int]]] = {}
    for one in heads:
        pairs.setdefault(one.name.rpartition(":")[2], set()).add((one.n, one.skip))
    alike = all(len(found) == 1 for found in pairs.values())
    held: dict[tuple[int, int], dict[str, None]] = {}
    for one in heads:
        word = one.name.rpartition(":")[2] if alike else one.name
        held.setdefault((one.n, one.skip), {})[word] = None
    return "; ".join(f"{', '.join(words)} n={n} skip={skip}" for (n, skip), words in held.items())


def sharpness(record: AblationSuite) -> PagePart:
    """Return the section on each given head's entropy, and on what temperature does to its KL.

    Args:
        record: The suite.
    """
    heads = [one for model in record.models for one in _heads(record, model)]
    rows = [
        (
            one.name,
            f"{one.entropy.estimate:.2f}",
            _digits(one.factor),
            _digits(one.best),
            _short(1 - one.best / one.agreement.uniform.estimate),
        )
        for one in heads
    ]
    return PagePart(
        title="Sharpness of given models",
        header=("variant", "entropy", "factor", "KL", "skill"),
        rows=rows,
        text=(
            "entropy: of the rows, over that of equal weights. factor: on the head's logits at which it agrees best "
            "with the pieces that temperatures are fitted on, 1 where its own temperature is the best; KL, skill: at "
            "that factor, on the pieces that are measured."
        ),
    )


def _comparison(one: GivenModel) -> str:
    return f", compared with {one.against}" if one.against else ""


def _folders(one: GivenModel) -> str:
    return f"{count(len(one.folders), 'seed')}: {', '.join(one.folders)}" if len(one.folders) > 1 else one.folders[0]


def learnt_embeddings(record: AblationSuite) -> PagePart:
    """Return the section on how far embeddings moved in training, and on the skill of heads that read nothing else.

    Args:
        record: The suite.
    """
    rows = []
    for one in record.models:
        if one.learnt is not None:
            heads = [head for head in _heads(record, one) if _layer(head) == "0"]
            own = [head.agreement.skill.estimate for head in heads]
            best = [1 - head.best / head.agreement.uniform.estimate for head in heads]
            change, cosine = _between(one.learnt.change), _between(one.learnt.cosine)
            rows.append((one.name, change, cosine, _between(own), _between(best)))
    return PagePart(
        title="Learnt embeddings",
        header=("model", "change", "cosine", "skill", "best"),
        rows=rows,
        text=(
            "As the runs recorded it at their last step. change: of the embeddings, over their norm before; cosine: of "
            "a token's vector with what it was; both from the least to the largest over seeds. skill: of the heads of "
            "the first layer, which reads embeddings alone, from the least to the largest; best: the same at the "
            "temperature of least KL, which tells a changed pattern from a changed sharpness. "
            f"{NONE}: heads that were learnt have no counts of their own."
        ),
    )


def models_verdict(record: AblationSuite) -> str:
    """Return sentences on the heads of each given model, by layer.

    Args:
        record: The suite.
    """
    messages = []
    for model in record.models:
        layers: dict[str, list[Remedy]] = {}
        for head in _heads(record, model):
            layers.setdefault(_layer(head), []).append(head)
        parts = [f"{f'layer {name}' if name else 'nearest head'} {_counted(heads)}" for name, heads in layers.items()]
        messages.append(
            f"{model.name} compared with {model.against or 'equal weights'}: {'; '.join(parts) or 'not measured'}."
        )
    return f"KL of each head, nat, settled as above. {' '.join(messages)}"


def _heads(record: AblationSuite, model: GivenModel) -> list[Remedy]:
    return [one for one in record.remedies if one.group == MODELS and one.name.rpartition(":")[0] == model.name]


def _layer(head: Remedy) -> str:
    """Number of its layer; empty where it was chosen among all."""
    place = head.name.rpartition(":")[2]
    return place[1:].partition("H")[0] if place.startswith("L") and "nearest" not in head.change else ""


def _between(values: Sequence[float]) -> str:
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return NONE
    low, high = (_short(value) for value in (min(known), max(known)))
    return low if low == high else f"{low}..{high}"


def _digits(value: float) -> str:
    return f"{value:.3f}" if 0.01 <= value < 9.9995 else f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")


def _short(value: float) -> str:
    if abs(value) >= 1e3:
        return f"{value:.0e}".replace("e+0", "e").replace("e+", "e")
    shown = value if abs(value) >= 0.005 else 0.0  # never "-0.00"
    return f"{shown:.2f}" if abs(value) < 9.995 else f"{value:.0f}"


def _counted(heads: Sequence[Remedy]) -> str:
    steps = [one.step for one in heads if one.step is not None]
    worse = [step.gain.estimate for step in steps if settled(step) and step.gain.estimate <= -SLIGHT]
    better = [step.gain.estimate for step in steps if settled(step) and step.gain.estimate >= SLIGHT]
    parts = [
        f"{len(found)} of {len(steps)} {word} ({_gains(found)})"
        for word, found in (("worse", worse), ("better", better))
        if found
    ]
    rest = len(steps) - len(worse) - len(better)
    return ", ".join([*parts, *([f"{rest} of {len(steps)} neither"] if rest else [])])


def _gains(found: Sequence[float]) -> str:
    low, high = number(min(found)), number(max(found))
    return low if low == high else f"{low} to {high}"


ALPHA = 0.05
SLIGHT = 0.005
"""Change in nats under which a variant neither helps nor hurts to speak of."""

SMALL, MODELS = "small width", "models"
"""Groups that have a paragraph of their own."""

NAMED = 24
"""Variants a list names; the table has the others."""


def settled(step: Step | HeadLoss) -> bool:
    """Return whether a change is significant, adjusted for all changes in its table."""
    return step.gain.n >= FEWEST_FOR_CLAIM and step.p <= ALPHA and (step.gain.low > 0 or step.gain.high < 0)


def remedy_verdict(record: AblationSuite) -> list[tuple[str, str]]:
    """Return (title, paragraph) pairs that conclude the page: what helps, hurts or makes no difference.

    Args:
        record: The suite.
    """
    steps = [(one, one.step) for one in record.remedies if one.step is not None]
    known = {one.name: one for one in record.remedies}
    changes = [(one, step) for one, step in steps if one.group not in (SMALL, MODELS)]
    messages = [(one, step) for one, step in changes if settled(step)]
    large = [(one, step) for one, step in messages if abs(step.gain.estimate) >= SLIGHT]
    helps = [pair for pair in large if pair[1].gain.estimate > 0 and not known[pair[1].against].misaligned]
    repairs = [pair for pair in large if pair[1].gain.estimate > 0 and known[pair[1].against].misaligned]
    hurts = [pair for pair in large if pair[1].gain.estimate < 0]
    chosen = {one.name for one, _ in large}
    rest = [one.name for one, _ in changes if one.name not in chosen]
    footing = (
        f"Less KL than the variant that each changes, nat, over {count(record.documents, 'document')}, largest first; "
        f"settled at {ALPHA:.0%} for all {len(steps)} changes together. "
    )
    undone = f" Undoes what was focused on the wrong keys: {_list(repairs)}." if repairs else ""
    return [
        ("Verdict: helps", f"{footing}{_list(sorted(helps, key=lambda pair: -pair[1].gain.estimate))}.{undone}"),
        ("Verdict: hurts", f"{_list(sorted(hurts, key=lambda pair: pair[1].gain.estimate))}."),
        ("Verdict: neither", f"Not settled, or by less than {SLIGHT:g} nat: {', '.join(rest) or 'none'}."),
    ]


def _list(found: Sequence[tuple[Remedy, Step]]) -> str:
    named = [f"{one.name} {number(step.gain.estimate)} {bounds(step.gain)}" for one, step in found[:NAMED]]
    left = f", {len(found) - NAMED} more in the table" if len(found) > NAMED else ""
    return f"{', '.join(named) or 'none'}{left}"


def number(value: float) -> str:
    """Format a change in nats, with its sign."""
    if abs(value) >= 1e4:
        return f"{value:+.0e}".replace("e+0", "e").replace("e+", "e")
    return f"{value:+.3f}" if abs(value) < 9.9995 else f"{value:+.1f}"


def bounds(effect: Effect) -> str:
    """Format the interval of a change."""
    return TOO_FEW if math.isnan(effect.low) else f"[{number(effect.low)}, {number(effect.high)}]"


def small_widths(record: AblationSuite) -> str:
    """Name the best and the worst variant of each small width."""
    own = [one for one in record.remedies if one.group == SMALL]
    messages = []
    for width in sorted({int(one.name.rsplit("_", 1)[1]) for one in own}):
        same = sorted(
            (one for one in own if one.name.endswith(f"_{width}")), key=lambda one: one.agreement.divergence.estimate
        )
        messages.append(
            f"{width}: {same[0].name} ({same[0].agreement.divergence.estimate:.3f}), worst {same[-1].name} "
            f"({same[-1].agreement.divergence.estimate:.3f})"
        )
    return f"Least KL at each width: {'; '.join(messages)}." if messages else ""


def heads_alone(record: AblationSuite) -> str:
    """List the single heads that predict the next token better than the bigram, and those that are worse."""

    def named(better: bool) -> str:
        messages = [one for one in record.losses if settled(one) and abs(one.gain.estimate) >= SLIGHT]
        found = [one for one in messages if (one.gain.estimate > 0) is better]
        found.sort(key=lambda one: -one.gain.estimate)
        return ", ".join(f"{one.name} {number(one.gain.estimate)}" for one in found) or "none"

    return f"By {SLIGHT:g} nat or more better than the bigram: {named(True)}. Worse: {named(False)}."
