"""Study: one model, its sequences, and all evidence for the checks; each item is computed once, on first use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import nn

from heedful.attention.engines.moments import Extras
from heedful.contract.record import ContractReport
from heedful.distributed.ranks import ALONE, Ranks
from heedful.errors import UsageError
from heedful.evaluation.ablation import ARMS, Replacement, differences_by_analyses, losses_under
from heedful.evaluation.batches import batch_of, batches_of, leading, tokens_at_once
from heedful.evaluation.budget import REPEATS
from heedful.evaluation.continued import Continuation, continuation
from heedful.evaluation.evidence import Array, Evidence, collect
from heedful.evaluation.gradient import ExpectedEffects, ParameterGradient, attention_gradients
from heedful.evaluation.null_inputs import (
    UNTRAINED,
    Build,
    NoFreshModel,
    Repeats,
    excess_or,
    heads_of,
    probes_of,
    repeated,
    shuffled,
    untrained_statistics,
)
from heedful.evaluation.objective import Objective, find_objective, is_causal_by_name
from heedful.evaluation.output_layer import OutputLayer, output_layer
from heedful.evaluation.pattern_pool import PatternPool, pattern_pool, pool_plan
from heedful.evaluation.perturbation import Leak, future_leaks
from heedful.evaluation.probes import (
    distances,
    growth,
    integrity,
    query_variation,
    repeats,
    representations,
    row_statistics,
    same_token,
    token_groups,
)
from heedful.evaluation.query_key_orientation import Orientation, content_orientation
from heedful.evaluation.random_projections import SEQUENCES, NoRandomProjections, first_of, projected_statistics
from heedful.evaluation.random_projections import WORDS as PROJECTED
from heedful.evaluation.registry import PROBES
from heedful.evaluation.running import contract_on, device_of, nonfinite_entries
from heedful.evaluation.same_pass import NORM_SEQUENCES, SamePass
from heedful.evaluation.settings import Settings
from heedful.evaluation.text_reader import TextReader
from heedful.inference.units import document_means, mean_of, without_rounding
from heedful.loading.batch import Batch

if TYPE_CHECKING:
    from heedful.loading.sequences import TokenBatch

PERTURBED = 4
"""Sequences on which later tokens are changed."""

CHECKED = 2
"""Sequences whose contract is checked."""

BACKWARD = 4
"""Sequences that go backward where nothing is ranked: whether a gradient reaches a parameter is no matter of many."""

Answer = TypeVar("Answer")


def no_progress(done: int, total: int, what: str) -> None:
    """Do nothing; the default progress callback."""


@dataclass
class Study:
    """A model, its sequences, and all evidence that checks judge, computed on first use.

    Attributes:
        model: The model, in evaluation mode while the study runs.
        sequences: Token ids with their documents.
        settings: Options and margins.
        progress: Called with (done, total, what) as work proceeds.
        ranks: Processes that divide the batches; the evidence is whole on each of them.
        build: What built the model from a seed, where it can do so again; null models come from it.
        unwrap_notes: A note for each wrapper that was taken off the model.
        copies: Documents that were left out because their tokens are those of others.
        reading: Whether the pass that measures attention also takes the loss on the text.
        without: Phases that a budget leaves out.
    """

    model: nn.Module
    sequences: TokenBatch
    settings: Settings = field(default_factory=Settings)
    progress: Callable[[int, int, str], None] = no_progress
    ranks: Ranks = ALONE
    build: Build | None = None
    unwrap_notes: Sequence[str] = ()
    copies: int = 0
    null_reason: str = "no null comparison was requested"
    null_words: str = UNTRAINED
    reading: bool = True
    without: Sequence[str] = ()
    same_pass: SamePass | None = field(default=None, init=False, repr=False, compare=False)
    _text: TextReader | None = field(default=None, init=False, repr=False, compare=False)
    _answers: dict[Callable[[Study], Any], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, question: Callable[[Study], Answer]) -> Answer:
        """Return ``question(study)``, computed on the first call and cached for all checks."""
        if question not in self._answers:
            self._answers[question] = question(self)
        answer: Answer = self._answers[question]
        return answer

    @cached_property
    def batches(self) -> list[Batch]:
        """All sequences in order, as batches; no batch has a single sequence unless the study has only one."""
        return batches_of(self.model, self.sequences, self.batch_tokens)

    @cached_property
    def batch_tokens(self) -> int:
        """Tokens that go through the model at once."""
        total, length = self.sequences.input_ids.shape
        return tokens_at_once(self.model, (total, length), self.settings.batch_tokens)

    def first_batches(self, count: int) -> list[Batch]:
        """Return the first batches that together hold at least ``count`` sequences, or all batches."""
        return leading(self.batches, count)

    def _ticker(self, total: int, what: str) -> Callable[[], None]:
        done = 0

        def tick() -> None:
            nonlocal done
            done += 1
            self.progress(done, total, what)

        self.progress(0, total, what)
        return tick

    @cached_property
    def observed(self) -> Evidence:
        """Measurements of the model on its text."""
        of_rows = (row_statistics, growth, distances, token_groups, representations, integrity)
        probes = [*of_rows, *PROBES.values(), query_variation, same_token(self.settings.seed)]
        tick = self._ticker(len(self.ranks.run(self.batches)), "measuring attention")
        extras = Extras(distances=True, contrast=True)
        reader = TextReader(self.model, self.output_layer)
        beside = self._beside()

        def run(batch: Batch) -> None:
            beside.begin(batch)
            (reader.read if self.reading else reader.run)(batch)

        with beside.watching():
            found = collect(
                self.model,
                self.batches,
                [*probes, beside.probe],
                extras=extras,
                groups=True,
                tick=tick,
                ranks=self.ranks,
                run=run,
                pools=beside.pools,
            )
        self._text = reader
        self.same_pass = beside if self.ranks.count == 1 else None
        return found

    def _beside(self) -> SamePass:
        """What the measuring pass gathers beside the evidence; nothing where processes divide the text."""
        if self.ranks.count > 1:
            return SamePass(self.model)
        oriented = self.reading and self.settings.null == "random"
        pooled = self.reading and len(self.sequences.input_ids) > 1
        return SamePass(
            self.model,
            norms_of=len(self.first_batches(NORM_SEQUENCES)),
            covariances_of=len(self.first_batches(self.settings.null_sequences)) if oriented else 0,
            plan=pool_plan(self.sequences, self._pool_rows) if pooled else None,
        )

    @cached_property
    def output_layer(self) -> OutputLayer | None:
        """The model's output layer if it may be computed in blocks or skipped, else None."""
        return output_layer(self.model, self.batches[0])

    def _run_model(self, batch: Batch) -> None:
        TextReader(self.model, self.output_layer).run(batch)

    @cached_property
    def on_shuffled(self) -> Evidence:
        """Measurements of the model on its first sequences with shuffled tokens."""
        batches = [shuffled(batch, self.settings.seed) for batch in self.first_batches(self.settings.control_sequences)]
        tick = self._ticker(len(self.ranks.run(batches)), "shuffled tokens")
        return collect(self.model, batches, [query_variation], tick=tick, ranks=self.ranks, run=self._run_model)

    @cached_property
    def repeats(self) -> Repeats | None:
        """Repeated random sequences as long as the study's; None if the study's sequences are too short or the phase
        is left out.
        """
        if REPEATS in self.without:
            return None
        count, settings = min(len(self.sequences.input_ids), self.settings.control_sequences), self.settings
        periods, copies = settings.repeat_periods, settings.repeat_copies
        return repeated(self.batches, count, settings.seed, periods=periods, copies=copies)

    @cached_property
    def on_repeats(self) -> Evidence | None:
        """Measurements of the model on repeated random sequences; None if the sequences are too short."""
        if self.repeats is None:
            return None
        probe = repeats(self.repeats.periods, self.repeats.prefix)
        tick = self._ticker(len(self.ranks.run(self.repeats.batches)), "repeats")
        return collect(self.model, self.repeats.batches, [probe], tick=tick, ranks=self.ranks, run=self._run_model)

    @cached_property
    def null_subset(self) -> list[Batch]:
        """Batches on which the null models are measured."""
        if not self.nulls or self.null_words != PROJECTED:
            return self.first_batches(self.settings.null_sequences)
        return self._few

    @property
    def _few(self) -> list[Batch]:
        """The sequences that random projections read."""
        chosen: list[Batch] = []
        for batch in self.batches:
            left = SEQUENCES - sum(len(one.index) for one in chosen)
            chosen += [first_of(batch, left)] if left > 0 else []
        return chosen

    @cached_property
    def nulls(self) -> dict[str, Array]:
        """Head statistics of null models, averaged over ``null_subset``: name to ``(draw, all heads)``.

        Random projections on the model's own inputs; fresh models of the same config where the settings ask for them,
        or where projections are not known. Empty where none was asked for or neither could be made; ``null_reason``
        says why, and ``null_words`` which it is.
        """
        count = self.settings.nulls
        if not count:
            return {}
        why = ""
        if self.settings.null == "random":
            try:
                found = self._projected(count)
            except NoRandomProjections as error:
                why = f"{error}; and "
            else:
                self.null_words = PROJECTED
                return found
        tick = self._ticker(len(self.ranks.own(range(count))), "untrained models")
        try:
            first = self.first_batches(self.settings.null_sequences)
            given = (self.model, count, first, self.repeats, self.settings.seed, tick, self.ranks)
            return untrained_statistics(
                *given, build=self.build, paths=self.observed.module_paths, content=self._content
            )
        except NoFreshModel as error:
            self.null_reason = f"{why}{error}"
            return {}

    def _projected(self, count: int) -> dict[str, Array]:
        texts = [(self._few, probes_of(self.settings.seed, self._content))]
        if self.repeats is not None:
            first = first_of(self.repeats.batches[0], SEQUENCES)
            texts.append(([first], [repeats(self.repeats.periods, self.repeats.prefix)]))
        tick = self._ticker(len(texts), "random projections")
        given = (self.model, count, self.observed.layers, texts, self.settings.seed, tick, self.ranks, self._run_model)
        return heads_of(projected_statistics(*given), self._content)

    @property
    def _content(self) -> bool:
        """Whether claims on content are compared with these draws."""
        return self.settings.null == "untrained" or self.content_orientation[0] is None

    def on_null_subset(self, name: str) -> Array:
        """Return a statistic of the tested model, averaged over the null models' sequences, ``(all heads,)``."""
        projected = bool(self.nulls) and self.null_words == PROJECTED
        if name == "induction_mass":
            if self.on_repeats is None or self.repeats is None:
                return np.full(self.observed.stacked("concentration").shape[1], np.nan)
            first = len(self.repeats.batches[0].index)
            first = min(first, SEQUENCES) if projected else first
            return np.asarray(mean_of(self.on_repeats.stacked(name)[:first], axis=0))
        count = sum(len(batch.index) for batch in self.null_subset)
        return np.asarray(mean_of(excess_or(self.observed, name)[:count], axis=0))

    @cached_property
    def n_documents(self) -> int:
        """Number of documents that the sequences come from."""
        return len(np.unique(self.sequences.document.numpy()))

    @property
    def of_blocks(self) -> bool:
        """Whether the documents are blocks cut from fewer texts, and so not independent."""
        return bool(getattr(self.sequences, "blocks", False))

    @property
    def copy_notes(self) -> list[str]:
        """One note on documents that were excluded as copies; empty if there are none."""
        return [f"{self.copies} documents dropped: their tokens are exactly those of others"] if self.copies else []

    def units(self, values: Array) -> Array:
        """Average values over the sequences of each document: ``(sequence, ...)`` to ``(document, ...)``."""
        return without_rounding(document_means(values, self.sequences.document.numpy()))

    def first_units(self, values: Array) -> Array:
        """Average values of the first sequences over the sequences of each document: ``(sequence, ...)`` to
        ``(document, ...)``.
        """
        return without_rounding(document_means(values, self.sequences.document.numpy()[: len(values)]))

    def paired_units(self, values: Array) -> Array:
        r"""Average, by document, values that each compare two documents; deviations are doubled so that the
        spread is not underestimated.

        Each document stands behind its own values and behind those of its partners, so the means are not independent:
        by Hoeffding's decomposition :math:`h(X, Y) = m + a(X) + a(Y) + r` their mean has variance
        :math:`4 \sigma_a^2 / G` beside the residual's, each of them :math:`\sigma_a^2` or more. Deviations from the
        mean are doubled, so that the spread is that of independent documents at least. Source: Hoeffding 1948,
        doi:10.1214/aoms/1177730196.
        """
        units = self.first_units(values)
        middle = mean_of(units, axis=0)
        return np.asarray(middle + 2.0 * (units - middle))

    @cached_property
    def hides_future(self) -> bool:
        """Whether all self-attention layers mask later keys."""
        counts = [np.nansum(layer.values["visible_future"]) for layer in self.observed.layers]
        return all(count == 0 for count in counts)

    @cached_property
    def meant_causal(self) -> bool:
        """Whether the model should be causal: by option, else by its class, else by most of its layers."""
        if self.settings.causal is not None:
            return self.settings.causal
        if is_causal_by_name(self.model):
            return True
        hiding = [np.nansum(layer.values["visible_future"]) == 0 for layer in self.observed.layers]
        return sum(hiding) * 2 > len(hiding)

    @cached_property
    def leaks(self) -> list[Leak]:
        """Effect of changing one token on the outputs at earlier positions, measured for a few positions of that
        token.
        """
        whole = [i for i in range(len(self.sequences.input_ids)) if bool(self.sequences.attention_mask[i].all())]
        index = torch.tensor((whole or [0])[:PERTURBED])
        return future_leaks(self.model, batch_of(self.sequences, index, device_of(self.model)), self.output_layer)

    @cached_property
    def contract(self) -> ContractReport | str:
        """Result of ``heedful.check`` on the first sequences, or the reason why it could not run."""
        first = torch.arange(min(CHECKED, len(self.sequences.input_ids)))
        return contract_on(self.model, batch_of(self.sequences, first, device_of(self.model)), self.settings.causal)

    @cached_property
    def objective(self) -> Objective:
        """Prediction task whose loss measures the cost of ablation."""
        return find_objective(
            self.model,
            self.batches[0],
            hides_future=self.meant_causal,
            mask_token=getattr(self.sequences, "mask_token", None),
            vocabulary=int(self.sequences.input_ids.max()) + 1,
            seed=self.settings.seed,
            layer=self.output_layer,
        )

    def _losses(self, what: str, replacements: Sequence[Replacement | None], batches: Sequence[Batch]) -> list[Array]:
        tick = self._ticker(len(replacements) * len(self.ranks.run(batches)), what)
        wanted = any(one is not None and one.arm == "mean" for one in replacements)
        pool = self.pattern_pool if wanted else None
        single = any(one is not None and one.layers is not None and len(one.layers) == 1 for one in replacements)
        cut = self.continuation if single else None
        return losses_under(
            self.model, self.objective, batches, replacements, tick=tick, ranks=self.ranks, pool=pool, cut=cut
        )

    @cached_property
    def continuation(self) -> Continuation | None:
        """Runs forwards from a middle layer; None if that does not reproduce the full forward's losses."""
        paths = [layer.module_path for layer in self.observed.layers]
        return continuation(self.model, self.objective, self.batches[0], paths, list(self.loss[:2]))

    def of_documents(self, begin: int, end: int) -> list[Batch]:
        """Return the first sequence of documents ``begin`` to ``end`` as batches, without sequences that predict
        nothing.

        Args:
            begin: The first document, counted over those that have one.
            end: The document after the last.
        """
        seen: dict[int, int] = {}
        real = (self.sequences.attention_mask.sum(1) > 1).tolist()
        for row, label in enumerate(self.sequences.document.tolist()):
            if real[row]:
                seen.setdefault(label, row)
        rows = sorted(seen.values())[begin:end]
        size = max(2, self.batch_tokens // max(1, self.sequences.input_ids.shape[1]))
        starts = list(range(0, len(rows), size))
        if len(starts) > 1 and len(rows) - starts[-1] == 1:
            starts.pop()
        ends = [*starts[1:], len(rows)]
        device = device_of(self.model)
        return [batch_of(self.sequences, torch.tensor(rows[a:b]), device) for a, b in zip(starts, ends, strict=True)]

    @cached_property
    def whole_batches(self) -> list[Batch]:
        """Batches on which attention is replaced in the whole model: 16 documents, or all batches with preset full or
        interim analyses.
        """
        wanted, settings = self.settings.whole_sequences, self.settings
        chosen = self.of_documents(0, wanted)
        few = sum(len(batch.index) for batch in chosen) < wanted
        return self.batches if few or settings.interim_analyses > 1 or settings.runs("full") else chosen

    @cached_property
    def layer_batches(self) -> list[Batch]:
        """Batches on which attention is replaced in single layers and heads; if layers and heads are ranked first,
        these batches hold documents that the ranking did not use.

        Models of few layers and heads are measured whole, on those documents too.
        """
        count = self.settings.layer_sequences
        ranked = self._ranking is not None
        return self.of_documents(count, 2 * count) if ranked else self.first_batches(2 * count)

    @cached_property
    def _two_halves(self) -> bool:
        """Whether there are documents enough to rank on some and to test on others."""
        count = self.settings.layer_sequences
        return sum(len(batch.index) for batch in self.of_documents(0, 2 * count)) == 2 * count

    @cached_property
    def backward_batch(self) -> Batch:
        """Batch for the backward pass; if layers and heads are ranked by predicted loss increase, it holds the
        sequences used for the ranking.
        """
        if self._ranking is None:
            return self.batches[0].rows(slice(0, BACKWARD))
        chosen = self.of_documents(0, self.settings.layer_sequences)
        rows = torch.cat([batch.index for batch in chosen])
        return batch_of(self.sequences, rows, device_of(self.model))

    @cached_property
    def _ranking(self) -> ExpectedEffects | None:
        """Where expected effects are gathered; None where everything is measured."""
        settings, layers = self.settings, self.observed.replaceable
        if (
            settings.interim_analyses > 1
            or self.ranks.divide == "tensor"
            or not settings.runs("standard")
            or not self._two_halves
        ):
            return None
        many = len(layers) > settings.ranked_layers if not settings.runs("full") else False
        many |= settings.runs("full") and sum(layer.heads for layer in layers) > settings.ranked_heads
        return ExpectedEffects() if many else None

    def _best(self, scores: Array, count: int) -> set[int]:
        """Places of the largest scores: those of the first process, so that all have the same."""
        mine = np.full(len(scores), self.ranks.rank == 0)
        (shared,) = self.ranks.merged([np.nan_to_num(scores, nan=-np.inf, posinf=1e300, neginf=-1e300)], mine)
        return {int(place) for place in np.argsort(-shared, kind="stable")[:count]}

    @cached_property
    def ranked_layers(self) -> set[int]:
        """Indices of replaceable modules that are ablated alone: all, or those with the largest predicted loss
        increase.
        """
        layers, ranking = self.observed.replaceable, self._ranking
        every = set(range(len(layers)))
        if ranking is None or self.settings.runs("full") or not self.gradients:
            return every
        if any(layer.module_path not in ranking.effects for layer in layers):
            return every
        scores = np.array([ranking.layer(layer.module_path) for layer in layers])
        return self._best(scores, self.settings.ranked_layers)

    @cached_property
    def ranked_heads(self) -> set[int]:
        """Indices of heads that are ablated alone: all, or those with the largest predicted loss increase."""
        layers, ranking = self.observed.replaceable, self._ranking
        every = set(range(sum(layer.heads for layer in layers)))
        if ranking is None or not self.gradients or any(layer.module_path not in ranking.effects for layer in layers):
            return every
        scores = np.concatenate([ranking.heads(layer.module_path) for layer in layers])
        return self._best(scores, self.settings.ranked_heads) if len(scores) == len(every) else every

    def _differences(
        self, what: str, replacements: Sequence[Replacement], batches: Sequence[Batch], tests: int
    ) -> list[Array]:
        if self.settings.interim_analyses > 1:
            losses = partial(self._losses, what)
            return differences_by_analyses(
                losses, replacements, batches, self.loss, units=self.first_units, settings=self.settings, tests=tests
            )
        rows = torch.cat([batch.index for batch in batches]).numpy()
        found = [np.full(rows.max() + 1, np.nan) for _ in replacements]
        for values, measured in zip(found, self._losses(what, replacements, batches), strict=True):
            values[rows] = measured - self.loss[rows]
        return found

    @cached_property
    def content_orientation(self) -> tuple[Orientation | None, str]:
        """Scores of how well each head's queries align with its keys, and an empty string; (None, reason) if they
        cannot be computed.
        """
        subset = self.first_batches(self.settings.null_sequences)
        layers, beside = self.observed.layers, self.same_pass
        known = beside.covariances if beside is not None and beside.covariances_of == len(subset) else None
        return content_orientation(self.model, subset, layers, self.settings.seed, known)

    @cached_property
    def pattern_pool(self) -> PatternPool:
        """Attention patterns summed over two fixed pools of documents, whose mean replaces the learned pattern; the
        pools are the same for every batch.
        """
        if self.same_pass is not None and self.same_pass.plan is not None:
            return self.same_pass.plan.pool
        return pattern_pool(self.model, self.sequences, self.batch_tokens, self._run_model, self._pool_rows)

    @property
    def _pool_rows(self) -> list[int] | None:
        """Indices of the sequences that need a pool, or None if all sequences may need one."""
        if self.settings.preset == "quick" and self.settings.interim_analyses == 1:
            return [int(row) for batch in self.whole_batches for row in batch.index]
        return None

    @property
    def _ablations(self) -> int:  # one family of tests
        return len(ARMS) * (1 + (len(self.observed.replaceable) if self.settings.runs("standard") else 0))

    @cached_property
    def loss(self) -> Array:
        """Loss of each sequence with learned attention, ``(sequence,)`` in nats per token."""
        if self.objective.name == "next token" and self._text is not None and self._text.losses:
            read = self._text.whole(self.batches)
            return self.ranks.merged([read], self.ranks.own_rows(self.batches))[0]
        return self._losses("loss", [None], self.batches)[0]

    @cached_property
    def whole_model(self) -> dict[str, Array]:
        """Loss increase by each replacement in all replaceable layers at once: name to ``(sequence,)``, nats per
        token.
        """
        if len(self.sequences.input_ids) < 2:
            raise UsageError("ablation: expected at least 2 sequences, got 1")
        wanted = [Replacement(arm, self.observed.reached) for arm in ARMS]
        found = self._differences("ablation of the whole model", wanted, self.whole_batches, self._ablations)
        return dict(zip(ARMS, found, strict=True))

    @cached_property
    def each_layer(self) -> list[dict[str, Array]]:
        """Loss increase by each replacement in one module alone: a dict for each module, name to ``(sequence,)``."""
        layers = self.observed.replaceable
        arms = [[arm for arm in ARMS if arm == "uniform" or k in self.ranked_layers] for k in range(len(layers))]
        wanted = [
            Replacement(arm, (layer.module_path,)) for layer, own in zip(layers, arms, strict=True) for arm in own
        ]
        found = iter(self._differences("ablation of each layer", wanted, self.layer_batches, self._ablations))
        return [{arm: next(found) for arm in own} for own in arms]

    @cached_property
    def each_head(self) -> list[list[Array | None]]:
        """Loss increase under uniform weights in one head alone, as ``[module][head]``: ``(sequence,)`` in nats per
        token, or None if the head was not measured.
        """
        layers, chosen = self.observed.replaceable, self.ranked_heads
        places = [(layer.module_path, head) for layer in layers for head in range(layer.heads)]
        wanted = [Replacement("uniform", (path,), (head,)) for k, (path, head) in enumerate(places) if k in chosen]
        found = iter(self._differences("ablation of each head", wanted, self.layer_batches, len(wanted)))
        each = iter([next(found) if k in chosen else None for k in range(len(places))])
        return [[next(each) for _ in range(layer.heads)] for layer in layers]

    @cached_property
    def gradients(self) -> list[ParameterGradient]:
        """Gradient of each attention parameter from one backward pass."""
        paths = self.observed.module_paths
        return attention_gradients(self.model, self.objective, self.backward_batch, paths, self._ranking)

    @cached_property
    def nonfinite_parameters(self) -> dict[str, int]:
        """Number of NaN or infinite entries of each parameter that has any, by name."""
        return nonfinite_entries(self.model)
