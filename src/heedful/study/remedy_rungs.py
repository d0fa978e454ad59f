"""The rungs of the ladder: each one change against an earlier one, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from heedful.core.errors import UsageError
from heedful.derivation.recipe import RECIPES, Recipe
from heedful.study import remedy_oracles as oracles
from heedful.study.remedy_text import Material

STANDARDS = (0.005, 0.02, 0.05, 0.1)
PLAIN_RANKS = (8, 16, 32, 64)
WEIGHTED_RANKS = (4, 8, 16, 32, 64)
SMALL_WIDTHS = (16, 32, 64)
LARGEST_RANK = 1_024
"""Most components of a rung that keeps them all."""

Oracle = Callable[[Material, np.ndarray, int], np.ndarray]
"""Material, tokens ``(sequence, position)`` and seed to logits ``(sequence, row, position)`` of rows from the second on;
what lies behind a row is hidden later."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One way to attend.

    Attributes:
        name: Its word.
        group: What kind of change it is.
        change: What it does, in words.
        against: The earlier rung that it changes; empty where it changes none.
        source: A recipe, or logits computed without any matrix.
        fed: Fields of the derived model's config that are changed afterwards: what it is fed that its matrices were
            not derived for.
        temperature: ``own``, or the ``best`` one on pieces of text that are not measured.
        n: Tokens of the contexts whose counts it is held against.
    """

    name: str
    group: str
    change: str
    source: Recipe | Oracle
    against: str = ""
    fed: Mapping[str, str] = field(default_factory=dict)
    temperature: str = "own"
    n: int = 1

    @property
    def wanted(self) -> set[tuple[int, int]]:
        """Context lengths and skips whose counts it needs."""
        read = self.source.wanted() if isinstance(self.source, Recipe) else {(1, 0)}
        return read | {(self.n, 0)}


@dataclass(frozen=True)
class Ground:
    """What all recipes of a ladder share.

    Attributes:
        vocabulary: Tokens there are.
        width: Of the embeddings.
        head_dim: Components a head, where a rung does not name them.
    """

    vocabulary: int
    width: int
    head_dim: int = 64

    @property
    def published(self) -> Recipe:
        """The published recipe, of which one head is measured."""
        return replace(
            RECIPES["seed"], width=self.width, head_dim=self.head_dim, layers=1, heads=1, longest=1, furthest=0,
            inner=0, value="copy", value_std=None,
        )  # fmt: skip

    @property
    def bare(self) -> Recipe:
        """Its queries and keys alone: embeddings kept, nothing added to tokens, no norm, logits as they come."""
        return replace(
            self.published, kept="embedding", positions="none", attention_input="none", calibration="raw"
        )  # fmt: skip

    @property
    def exact(self) -> Recipe:
        """The same with least squares and every component."""
        rank = min(self.vocabulary, self.width, LARGEST_RANK)
        return replace(self.bare, encoder="pseudo_inverse", head_dim=rank)

    @property
    def log_p(self) -> Recipe:
        """Every component of log P."""
        return replace(self.exact, affinity="log_probability")


def rungs(ground: Ground) -> list[Rung]:
    """The whole ladder.

    Args:
        ground: What its recipes share.
    """
    parts = (_baselines, _published, _scales, _affinities, _ranks, _inputs, _small_widths, _two_tokens)
    return [rung for part in parts for rung in part(ground)]


def chosen(ladder: Sequence[Rung], words: Sequence[str]) -> list[Rung]:
    """The rungs of some names and groups, with those they change, in order.

    Args:
        ladder: The whole.
        words: Names of rungs or groups; none for all.

    Raises:
        UsageError: A word is neither.
    """
    names, groups = {rung.name: rung for rung in ladder}, {rung.group for rung in ladder}
    for word in words:
        if word not in names and word not in groups:
            known = ", ".join((*dict.fromkeys(rung.group for rung in ladder), *names))
            raise UsageError(f"--rungs {word}: no rung or group of that name; there are: {known}")
    wanted = {rung.name for rung in ladder if not words or rung.name in words or rung.group in words}
    waiting = list(wanted)
    while waiting:
        base = names[waiting.pop()].against
        if base and base not in wanted:
            wanted.add(base)
            waiting.append(base)
    return [rung for rung in ladder if rung.name in wanted]


def _baselines(ground: Ground) -> list[Rung]:
    group = "baselines"
    return [
        Rung(name="uniform", group=group, change="equal weights", source=oracles.equal),
        Rung(name="unigram", group=group, change="token frequency alone", source=oracles.frequency, against="uniform"),
        Rung(
            name="random_logits", group=group, change="normal logits of deviation 1", source=oracles.noise,
            against="uniform",
        ),
    ]  # fmt: skip


def _published(ground: Ground) -> list[Rung]:
    group, kept = "published", replace(ground.published, kept="embedding")
    return [
        Rung(
            name="published", group=group, change="the published recipe: embeddings drawn anew after the derivation",
            source=ground.published, against="uniform",
        ),
        Rung(
            name="published_tempered", group=group, change="at its best temperature", source=ground.published,
            against="published", temperature="best",
        ),
        Rung(
            name="embeddings_kept", group=group, change="embeddings kept, std .01", source=kept, against="published"
        ),
    ]  # fmt: skip


def _scales(ground: Ground) -> list[Rung]:
    group, kept = "scale", replace(ground.published, kept="embedding")
    found = [
        Rung(
            name=f"std_{std:g}", group=group, change=f"matrices of std {std:g}", against="embeddings_kept",
            source=replace(kept, target=std),
        )
        for std in STANDARDS
    ]  # fmt: skip
    sized, fitted = replace(kept, calibration="logit_sd", target=1.0), replace(kept, calibration="divergence")
    return [
        *found,
        Rung(
            name="logit_sd_1", group=group, change="logits of deviation 1", source=sized, against="embeddings_kept"
        ),
        Rung(
            name="best_temperature", group=group, change="temperature of least KL", source=fitted,
            against="embeddings_kept",
        ),
        Rung(
            name="bare_input", group=group, change="neither positions nor layer norm, temperature of least KL",
            source=replace(ground.bare, calibration="divergence"), against="best_temperature",
        ),
    ]  # fmt: skip


def _affinities(ground: Ground) -> list[Rung]:
    group, exact = "affinity", ground.exact

    def fitted(name: str, change: str, recipe: Recipe, against: str) -> Rung:
        return Rung(name=name, group=group, change=change, source=recipe, against=against, temperature="best")

    rows = replace(exact, embedding="orthonormal", encoder="transpose")
    return [
        fitted("exact_m", "least squares in place of the transpose, every component", exact, "bare_input"),
        fitted("orthonormal_m", "orthonormal embeddings", rows, "exact_m"),
        fitted(
            "symmetrised", "(M + M^T)/2", replace(ground.bare, affinity="symmetrised"), "bare_input"
        ),
        fitted("symmetrised_exact", "(M + M^T)/2, exact", replace(exact, affinity="symmetrised"), "exact_m"),
        fitted("residual", "M without its first component", replace(exact, affinity="residual"), "exact_m"),
        fitted("degree_regularised", "M with degrees regularised", replace(exact, affinity="degree_regularised"), "exact_m"),
        fitted("probability", "P in place of M", replace(exact, affinity="probability"), "exact_m"),
        fitted("sqrt_probability", "root of P", replace(exact, affinity="sqrt_probability"), "probability"),
        fitted("pmi", "mutual information", replace(exact, affinity="pmi"), "exact_m"),
        fitted("ppmi", "positive mutual information", replace(exact, affinity="ppmi"), "exact_m"),
        Rung(
            name="log_p", group=group, change="log P, one count added to every pair", source=ground.log_p,
            against="exact_m",
        ),
        Rung(
            name="log_p_backoff", group=group, change="log P, one count a context spread by frequency",
            source=replace(ground.log_p, affinity="log_probability_backoff"), against="log_p",
        ),
        Rung(
            name="log_p_oracle", group=group, change="log P from the counts as it runs, no matrices",
            source=oracles.log_probability_of(1), against="log_p",
        ),
    ]  # fmt: skip


def _ranks(ground: Ground) -> list[Rung]:
    def ranked(name: str, change: str, rank: int, factorisation: str, against: str) -> Rung:
        recipe = replace(ground.log_p, head_dim=rank, factorisation=factorisation)
        return Rung(name=name, group="rank", change=change, source=recipe, against=against)

    most = min(ground.vocabulary, ground.width)
    plain = [rank for rank in PLAIN_RANKS if rank <= most]
    return [
        *(ranked(f"log_p_rank_{rank}", f"{rank} components of log P", rank, "plain", "log_p") for rank in plain),
        *(
            ranked(
                f"log_p_weighted_{rank}", f"{rank} components, errors weighed by frequency", rank, "frequency",
                f"log_p_rank_{rank}" if rank in plain else "log_p",
            )
            for rank in WEIGHTED_RANKS if rank <= most
        ),
    ]  # fmt: skip


def _inputs(ground: Ground) -> list[Rung]:
    group, log_p = "input", ground.log_p
    normed = replace(log_p, attention_input="layer_norm")
    placed = replace(log_p, positions="learned")
    waves = replace(log_p, positions="sinusoidal")
    turning = replace(ground.bare, positions="rotary")
    return [
        Rung(
            name="wrong_norm", group=group, change="a layer norm before the attention that pinv(E) does not know",
            source=log_p, fed={"attention_input": "layer_norm"}, against="log_p",
        ),
        Rung(
            name="norm_aware", group=group, change="pinv(LN(E)) in its place", source=normed, against="wrong_norm"
        ),
        Rung(
            name="positions", group=group, change="learned positions added, pinv(E)", source=placed, against="log_p"
        ),
        Rung(
            name="positions_norm_aware", group=group, change="the same through the layer norm, pinv(LN(E))",
            source=replace(normed, positions="learned"), against="positions",
        ),
        Rung(
            name="positions_joint", group=group, change="pinv of tokens and positions together",
            source=replace(placed, encoder="joint_pseudo_inverse"), against="positions",
        ),
        Rung(name="sinusoids", group=group, change="sinusoids added, pinv(E)", source=waves, against="log_p"),
        Rung(
            name="sinusoids_joint", group=group, change="pinv of tokens and sinusoids together",
            source=replace(waves, encoder="joint_pseudo_inverse"), against="sinusoids",
        ),
        Rung(
            name="rotary", group=group, change="rotary positions, leading components on the fastest pairs",
            source=turning, against="bare_input", temperature="best",
        ),
    ]  # fmt: skip


def _small_widths(ground: Ground) -> list[Rung]:
    found = []
    for width in SMALL_WIDTHS:
        small = replace(ground.bare, width=width)
        halves = replace(small, head_dim=width // 2)
        kinds = {
            "random": (small, "random embeddings"),
            "ppmi": (replace(small, embedding="ppmi_vectors"), "PPMI embeddings"),
            "m": (replace(halves, embedding="normalised_factors"), "factors of M as embeddings"),
            "log_p": (
                replace(
                    halves, embedding="log_probability_factors", affinity="log_probability", factorisation="frequency"
                ),
                "weighted factors of log P as embeddings",
            ),
        }
        for kind, (recipe, change) in kinds.items():
            for encoder, word in (("transpose", "transpose"), ("pseudo_inverse", "pinv")):
                found.append(
                    Rung(
                        name=f"{kind}_{word}_{width}", group="small width", change=f"{change}, width {width}, {word}",
                        source=replace(recipe, encoder=encoder), temperature="best",
                        against=_against(kind, word, width),
                    )
                )  # fmt: skip
    return found


def _against(kind: str, word: str, width: int) -> str:
    if kind != "random":
        return f"random_{word}_{width}"
    return "" if word == "transpose" else f"random_transpose_{width}"


def _two_tokens(ground: Ground) -> list[Rung]:
    group, two = "two tokens", replace(ground.log_p, shortest=2, longest=2)
    kept = replace(ground.published, kept="embedding", shortest=2, longest=2)
    fitted = replace(ground.bare, shortest=2, longest=2)
    return [
        Rung(name="uniform_2", group=group, change="equal weights", source=oracles.equal, n=2),
        Rung(
            name="last_token_2", group=group, change="published form, embeddings kept: contexts folded on their last token",
            source=kept, against="uniform_2", n=2,
        ),
        Rung(
            name="last_token_2_tempered", group=group, change="neither positions nor norm, at its best temperature",
            source=fitted, against="last_token_2", temperature="best", n=2,
        ),
        Rung(
            name="current_token_2", group=group, change="log P of the current token alone", source=ground.log_p,
            against="uniform_2", n=2,
        ),
        Rung(
            name="additive_2", group=group, change="what the token before says, added", temperature="best", n=2,
            source=replace(two, query="previous_tokens"), against="current_token_2",
        ),
        Rung(
            name="oracle_2", group=group, change="log P of whole pairs, no matrices", n=2,
            source=oracles.log_probability_of(2), against="additive_2",
        ),
    ]  # fmt: skip
