"""Claims on remedies, and claims of the note's later revisions: tensor heads, alignment, groups."""

from __future__ import annotations

from functools import partial

from heedful.evaluation.result import Finding
from reproductions.deciding import below, beside
from reproductions.evidence import Measurements
from reproductions.gauge.tables import Values, by_seed, over_seeds, paired
from reproductions.gauge.uniformity import PAIRS, UNIFORM
from reproductions.published import published, untested

register = partial(published, note="001")
LATER = "later revisions"


@register(
    section="what might work",
    sentence="More tensor heads, at about equal dimension, make a better model.",
    figure="proposed, not tried",
)
def more_tensor_heads_help(evidence: Measurements) -> list[Finding]:
    """Compare a model with more spin-2 heads (4x2e) with the mixed model 5x0e+3x1e+1x2e."""
    table = evidence.table("irreps")
    mixed = by_seed(table, "held_out_loss", irreps="5x0e+3x1e+1x2e")

    def against(irreps: str) -> Values:
        return paired(by_seed(table, "held_out_loss", irreps=irreps), mixed)

    larger = ("2x0e+2x1e+4x2e", "4x1e+3x2e+2x3e", "10x0e+10x1e+8x2e+4x3e")
    message = "Held-out loss of tensors alone minus mixed."
    return [
        below(over_seeds(against("4x2e")), 0.0, message, unit="nat/token"),
        *(
            beside(over_seeds(against(name)), f"Held-out loss of {name} minus mixed.", unit="nat/token")
            for name in larger
        ),
    ]


def _with_and_without(evidence: Measurements, measure: str) -> Values:
    """A measure with the alignment loss over all pairs minus without it, one temperature, by seed."""
    with_loss = by_seed(evidence.table("loss"), measure, alignment_weight=PAIRS)
    return paired(with_loss, by_seed(evidence.table("deciding"), measure, kappa_rule="shared", token_frames="learned"))


@register(
    section=LATER,
    sentence="The alignment loss pulls beliefs together and flattens attention.",
    figure="mean distance 1.73 to .74, sharp heads 4 of 9 to 0",
)
def alignment_flattens_attention(evidence: Measurements) -> list[Finding]:
    """Compare concentration with and without the alignment loss over all pairs; smaller weights are reported too."""
    table = evidence.table("loss")
    milder = [
        (weight, over_seeds(by_seed(table, "concentration", alignment_weight=weight))) for weight in (0.1, 1.0, PAIRS)
    ]
    return [
        below(over_seeds(_with_and_without(evidence, "concentration")), 0.0, "Nats from uniform.", unit="nat"),
        below(over_seeds(_with_and_without(evidence, "mean_distance")), 0.0, "Mean distance of two tokens."),
        *(beside(found, f"Nats from uniform at weight {weight:g} a query.", unit="nat") for weight, found in milder),
    ]


@register(
    section=LATER,
    sentence="The flatter model is the better one: uniform attention is the best there is.",
    figure="perplexity 1876 without the loss, 784 with it",
)
def uniform_attention_is_best(evidence: Measurements) -> list[Finding]:
    """Compare held-out loss with and without the alignment loss over all pairs."""
    found = over_seeds(_with_and_without(evidence, "held_out_loss"))
    return [below(found, 0.0, "Held-out loss with the loss over all pairs minus without.", unit="nat/token")]


@register(
    section=LATER,
    sentence="What the model learns is attention uniform over the past, 1/(i+1).",
    figure="query variation .501, that of uniform rows",
)
def attention_is_uniform_over_the_past(evidence: Measurements) -> list[Finding]:
    """Test whether attention is uniform with the alignment loss over all pairs, and without it."""
    flat = by_seed(evidence.table("loss"), "concentration", alignment_weight=PAIRS)
    free = by_seed(evidence.table("deciding"), "concentration", kappa_rule="shared", token_frames="learned")
    return [
        below(over_seeds(flat), UNIFORM, "Nats from uniform with the loss over all pairs.", unit="nat"),
        below(over_seeds(free), UNIFORM, "The same without that loss.", unit="nat"),
    ]


untested(
    "larger_groups_are_better",
    note="001",
    section=LATER,
    sentence="SO(N) with larger N gives a lower perplexity.",
    figure="SO(10) at 50, 80, 100: 341, 324, 180; SO(20) at 100: 166; SO(3) at 19: about 150",
    reason="Only SO(3) is built here; it takes irreps of SO(N) and 20,000 steps a run, with equal dimension and steps. "
    "The last of the figures contradicts the claim.",
)

untested(
    "frames_encode_classes",
    note="001",
    section=LATER,
    sentence="Frames of words of one class are nearer than those of others.",
    figure=".322 within and .496 between classes; cat to dog .412, cat to the .623",
    reason="Published without null or interval. It takes a vocabulary of whole words with known classes and a run long "
    "enough for their frames to settle; here tokens are pieces of words.",
)
