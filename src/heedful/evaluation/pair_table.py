"""Rank heads by their weight on given position pairs, over all sequences of a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from heedful.distributed.ranks import ALONE, Ranks
from heedful.evaluation.evidence import ProbedCall, collect
from heedful.evaluation.running import evaluating
from heedful.evaluation.settings import Settings
from heedful.evaluation.study import Study, no_progress
from heedful.evaluation.wrapped import unwrapped
from heedful.interception.pair_ranking import Matchings, PairRanking, given_pairs, ranking

if TYPE_CHECKING:
    from heedful.loading.sequences import TokenBatch


def pair_table(
    model: nn.Module,
    sequences: TokenBatch,
    pairs: Any,
    *,
    settings: Settings | None = None,
    progress: Callable[[int, int, str], None] = no_progress,
    ranks: Ranks | None = None,
) -> PairRanking:
    """Rank all heads of a model by their mean weight on given pairs, compared with permuted pairs.

    Args:
        model: The model.
        sequences: The text.
        pairs: ``[[query, key], ...]`` of the first sequence, or ``[[sequence, query, key], ...]``.
        settings: Seed and tokens of a batch.
        progress: Called with (done, total, what).
        ranks: Processes that divide the text; None for this one alone.

    Returns:
        The heads, the heaviest first.

    Raises:
        CaptureError: No attention call of the model could be met.
        InputRejected: A pair lies outside of the text, or no query can see it.
    """
    inside, notes = unwrapped(model)
    study = Study(inside, sequences, settings or Settings(), progress, ranks or ALONE, unwrap_notes=notes)
    lengths = [int(sequences.input_ids.shape[1])] * len(sequences.input_ids)
    found = given_pairs(pairs)
    matchings = Matchings(found, lengths, study.settings.seed)

    def probe(sight: ProbedCall) -> dict[str, Tensor]:
        return {"pair_sums": matchings.sums(sight.event.call, sight.batch.index.tolist())}

    with evaluating(study.model):
        evidence = collect(study.model, study.batches, [probe], ranks=study.ranks)
    places = [(layer.layer, layer.path, head) for layer in evidence.layers for head in range(layer.heads)]
    return ranking(places, evidence.stacked("pair_sums").sum(axis=0), len(found), matchings.others)
