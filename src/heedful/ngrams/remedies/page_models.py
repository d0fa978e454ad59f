"""Page text on given models: their heads and trained embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from heedful.ngrams.remedies.page_verdict import MODELS, SLIGHT, number, settled
from heedful.reporting.pages.cells import NONE
from heedful.reporting.pages.part import PagePart
from heedful.reporting.quantity import count

if TYPE_CHECKING:
    from heedful.ngrams.remedies.record import AblationSuite, GivenModel, Remedy


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
    """Return the section on each given head's entropy and the effect of temperature on its KL.

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
    """Return the section on how far embeddings moved in training, and on the skill of first-layer heads, whose only
    input is the embeddings.

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
