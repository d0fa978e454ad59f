"""Claims of note 003 on how far derived attention is from the counts, for the first head, its layer, deeper layers."""

from __future__ import annotations

from functools import partial

import numpy as np

from heedful.evaluation.result import Finding
from reproductions.counts.sweeping import PUBLISHED
from reproductions.counts.tables import EQUAL, Values, band, by_unit, over_units, skill
from reproductions.deciding import above, below, beside, within
from reproductions.evidence import Measurements
from reproductions.published import published, untested

DEEPER = (1, 2, 3)
RARER = 0.05
"""Share of rows by which matches must be rarer than by chance."""

EVIDENCE, STATE = "evidence", "current state"

register = partial(published, note="003")


def own(evidence: Measurements, measure: str, layer: int | tuple[int, ...], head: int | None = None) -> Values:
    """Return a measurement of the published model's heads at the published scale, one value per text slice."""
    return by_unit(evidence, "heads", measure, arm="published", std=PUBLISHED, layer=layer, head=head)


@register(
    section=EVIDENCE,
    sentence="The first head's attention is far from what the counts expect.",
    figure="KL .85, cosine .61, match 12.9 %",
)
def first_head_is_far_from_the_counts(evidence: Measurements) -> list[Finding]:
    """Test whether the note's KL, cosine and match of the first head are reproduced within a quarter."""
    found = [over_units(own(evidence, f"published_{name}", 0, 0)) for name in ("divergence", "cosine", "match")]
    words = ("KL, the first row among the rows.", "Cosine, the same.", "Match, the first of equal keys alone right.")
    figures, units = (0.85, 0.61, 0.129), ("nat", "", "share")
    return [
        within(one, *band(figure), word, unit=unit)
        for one, figure, word, unit in zip(found, figures, words, units, strict=True)
    ]


@register(
    section=EVIDENCE,
    sentence="These figures tell of the derivation: another attention would have others.",
    figure="KL .85 = poor alignment, cosine .61 = moderate",
)
def figures_tell_of_the_derivation(evidence: Measurements) -> list[Finding]:
    """Test whether the first head's skill differs from uniform attention by more than .02."""
    found = skill(evidence, "heads", "published", std=PUBLISHED, layer=0, head=0)
    far = np.abs(found)
    cosines = [over_units(own(evidence, name, 0, 0)) for name in ("cosine", "uniform_cosine")]
    return [
        above(over_units(far), EQUAL, "Distance of the first head's skill from that of uniform attention."),
        beside(over_units(found), "The skill itself: 0 is uniform attention.", null="uniform attention: 0"),
        beside(cosines[0], "Cosine with the expected rows, first head."),
        beside(cosines[1], "The same of uniform attention."),
    ]


@register(
    section=EVIDENCE,
    sentence="The most attended key is hardly ever the most expected one.",
    figure="12.9 % of positions, very poor; position 10 attends to 0 in place of 8",
)
def matches_are_rarer_than_chance(evidence: Measurements) -> list[Finding]:
    """Test whether the first head picks the most expected key less often than chance by 5 percentage points."""
    match, chance = (own(evidence, name, 0, 0) for name in ("match", "chance"))
    kept = by_unit(evidence, "heads", "match", arm="kept", std=PUBLISHED, layer=0, head=0)
    return [
        below(
            over_units(match - chance), -RARER, "Matches of the first head minus those of a random key.", unit="share"
        ),
        beside(over_units(chance), "Matches of a random key, copies of one token being equal.", unit="share"),
        beside(over_units(kept), "Matches with the embeddings kept.", unit="share"),
    ]


@register(
    section=STATE,
    sentence="The first layer agrees best.",
    figure="cosine .61 to .74, match 12 to 35 %; deeper .33 to .64, 0 to 20 %",
)
def first_layer_agrees_best(evidence: Measurements) -> list[Finding]:
    """Compare the first layer's cosine with that of deeper layers, and with uniform attention."""
    cosine = own(evidence, "cosine", 0) - own(evidence, "cosine", DEEPER)
    flat = own(evidence, "uniform_cosine", 0) - own(evidence, "uniform_cosine", DEEPER)
    gain = skill(evidence, "heads", "published", std=PUBLISHED, layer=0)
    return [
        above(over_units(cosine), 0.0, "Mean cosine of the first layer minus that of the deeper layers."),
        beside(over_units(flat), "The same of uniform attention: contexts of two tokens expect fewer keys."),
        beside(over_units(gain), "Skill of the first layer.", null="uniform attention: 0"),
    ]


@register(
    section=STATE,
    sentence="Cosines with what is expected are .61 to .74 in the first layer and .33 to .64 in deeper ones.",
    figure="these ranges",
)
def cosines_have_these_ranges(evidence: Measurements) -> list[Finding]:
    """Test whether mean cosines per layer lie in the published ranges; uniform attention is reported for comparison."""
    first, deeper = (over_units(own(evidence, "cosine", layer)) for layer in (0, DEEPER))
    flat = [over_units(own(evidence, "uniform_cosine", layer)) for layer in (0, DEEPER)]
    return [
        within(first, 0.61, 0.74, "Mean cosine, first layer."),
        within(deeper, 0.33, 0.64, "Mean cosine, deeper layers."),
        beside(flat[0], "The first layer's of uniform attention."),
        beside(flat[1], "The deeper layers' of uniform attention."),
    ]


@register(
    section=STATE,
    sentence="Deeper layers agree ever worse.",
    figure="KL increases, cosine decreases",
)
def deeper_layers_agree_worse(evidence: Measurements) -> list[Finding]:
    """Compare KL and cosine between layers 1 to 3, which use the same counts."""
    divergence, cosine = (own(evidence, name, 3) - own(evidence, name, 1) for name in ("divergence", "cosine"))
    kept = skill(evidence, "heads", "kept", std=PUBLISHED, layer=3) - skill(
        evidence, "heads", "kept", std=PUBLISHED, layer=1
    )
    flat = own(evidence, "uniform", 3) - own(evidence, "uniform", 0)
    return [
        above(over_units(divergence), 0.0, "KL of layer 3 minus KL of layer 1.", unit="nat"),
        below(over_units(cosine), 0.0, "Cosine of layer 3 minus that of layer 1."),
        beside(over_units(flat), "KL of uniform attention for layer 3 minus for layer 0: other counts.", unit="nat"),
        beside(over_units(kept), "Skill of layer 3 minus that of layer 1, embeddings kept."),
    ]


untested(
    "position_ten_attends_to_the_first",
    note="003",
    section=EVIDENCE,
    sentence="At position 10 the first head attends to position 0, where the counts expect 8.",
    figure="one example",
    reason="It is one row of a streamed web text that the note does not name; any row of near-uniform weights has some "
    "largest key. It would take that text.",
)
