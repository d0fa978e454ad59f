"""Variants that change the attention input: norms, positions, and whether matrices account for positions."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from heedful.ngrams.remedies.variant import RemedyContext, Variant


def input_variants(context: RemedyContext) -> list[Variant]:
    """Return the variants of norms and positions.

    Args:
        context: What their recipes share.
    """
    return [*_known_and_unknown(context), *_rotary(context), *_shifts(context)]


def _known_and_unknown(context: RemedyContext) -> list[Variant]:
    made, log_p = partial(Variant, group="input"), context.log_p
    normed = replace(log_p, attention_input="layer_norm")
    placed, waves = (replace(log_p, positions=word) for word in ("learned", "sinusoidal"))
    joint = "joint_pseudo_inverse"
    return [
        made(
            name="wrong_norm",
            change="a layer norm before the attention that pinv(E) does not know",
            source=log_p,
            fed={"attention_input": "layer_norm"},
            against="log_p",
        ),
        made(name="norm_aware", change="pinv(LN(E)) in its place", source=normed, against="wrong_norm"),
        made(name="positions", change="learned positions added, pinv(E)", source=placed, against="log_p"),
        made(
            name="positions_normed",
            change="the same through the layer norm, pinv(LN(E))",
            source=replace(normed, positions="learned"),
            against="positions",
        ),
        made(
            name="positions_joint",
            change="pinv of tokens and positions together",
            source=replace(placed, encoder=joint),
            against="positions",
        ),
        made(name="sinusoids", change="sinusoids added, pinv(E)", source=waves, against="log_p"),
        made(
            name="sinusoids_joint",
            change="pinv of tokens and sinusoids together",
            source=replace(waves, encoder=joint),
            against="sinusoids",
        ),
    ]


def _rotary(context: RemedyContext) -> list[Variant]:
    made = partial(Variant, group="input", temperature="best")
    turning = replace(context.bare, positions="rotary", order="largest_fastest")
    return [
        made(
            name="rotary",
            change="rotary positions, leading components on the fastest pairs",
            source=turning,
            against="bare_input",
        ),
        made(
            name="rotary_reversed",
            change="leading components on the slowest pairs",
            source=replace(turning, order="largest_slowest"),
            against="rotary",
        ),
    ]


def _shifts(context: RemedyContext) -> list[Variant]:
    """The published correction for positions, with them and without."""
    made = partial(Variant, group="input", temperature="best")
    waves = replace(context.bare, positions="sinusoidal")
    taken = replace(waves, subtracted="position_shift")
    return [
        made(
            name="shift_taken_bare",
            change="M less the published shift of positions, none added",
            source=taken,
            fed={"positions": "none"},
            against="bare_input",
        ),
        made(
            name="sinusoids_m",
            change="M, sinusoids added before the layer norm",
            source=replace(waves, attention_input="layer_norm"),
            against="bare_input",
        ),
        made(
            name="shift_taken",
            change="M less the published shift, sinusoids added before the layer norm",
            source=replace(taken, attention_input="layer_norm"),
            against="sinusoids_m",
        ),
    ]
