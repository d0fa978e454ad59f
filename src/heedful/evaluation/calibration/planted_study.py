"""Build a ``Study`` from simulated attention with planted effects, so that probes and verdicts can be tested without a
model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.attention.engines.groups import Groups
from heedful.attention.engines.moments import Extras
from heedful.evaluation.calibration.world import (
    DOCUMENTS,
    HEADS,
    World,
    planted_call,
    punctuation_of,
    special_of,
    zipf_ids,
)
from heedful.evaluation.evidence import Array, Evidence, LayerEvidence, Probe, ProbedCall
from heedful.evaluation.null_inputs import repeated
from heedful.evaluation.probes import growth, row_statistics, token_groups
from heedful.evaluation.query_probes import query_variation
from heedful.evaluation.settings import Settings
from heedful.evaluation.study import Study
from heedful.evaluation.token_probes import repeats, same_token
from heedful.inference.orientation import Orientation
from heedful.interception.event import AttentionEvent
from heedful.loading.batch import Batch

if TYPE_CHECKING:
    from heedful.loading.sequences import TokenBatch

RANKED = ("log_contrast", "same_token", "concentration", "previous_mass", "sink_mass", "induction_mass")
SETTLED_MODELS = 39
"""Null models far below every planted effect, and many enough for Holm: the interval alone decides."""


@dataclass(frozen=True)
class Planted:
    """A study of planted attention, with the attention call that it was built from.

    Attributes:
        study: The study, its evidence whole.
        call: What was measured.
        ids: Tokens of the documents, ``(document, token)``.
    """

    study: Study
    call: AttentionCall
    ids: Tensor


def planted_study(world: World, length: int, hides_future: bool, seed: int, resamples: int = 999) -> Planted:
    """Return a study of ``DOCUMENTS`` documents with planted attention.

    Args:
        world: How logits come about.
        length: Tokens of a document.
        hides_future: Whether attention is causal.
        seed: Seed of tokens and logits.
        resamples: Resamples of every interval and test.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = zipf_ids(DOCUMENTS, length, generator)
    sequences = sequences_of(ids)
    batch = Batch(ids, torch.ones_like(ids), torch.arange(len(ids)), sequences.special, sequences.punctuation)
    study = Study(nn.Identity(), sequences, Settings(preset="quick", resamples=resamples, seed=seed % 2**31))
    known = study.__dict__  # what a study gathers when first asked, given beforehand
    known["batches"] = known["null_subset"] = [batch]
    again = repeated([batch], DOCUMENTS, seed) if world.follows else None
    known["repeats"] = again
    if world.follows:
        if again is None:
            call = planted_call(world, ids, hides_future, generator)
        else:
            call = planted_call(world, again.batches[0].input_ids, hides_future, generator)
        known["observed"] = _evidence(call, batch, [_visible])
        known["on_repeats"] = again and _evidence(call, again.batches[0], [repeats(again.periods, again.prefix)])
    else:
        call = planted_call(world, ids, hides_future, generator)
        probes = [row_statistics, growth, token_groups, query_variation, same_token(study.settings.seed), _visible]
        known["observed"] = _evidence(call, batch, probes)
        other = planted_call(world, ids, hides_future, generator)
        known["on_shuffled"] = _evidence(other, batch, [query_variation])
        known["on_repeats"] = None
    known["content_orientation"] = (Orientation(*(np.full(HEADS, value) for value in (9.0, 1e-3, 1e-3))), "")
    known["nulls"] = {name: _settled() for name in RANKED}
    return Planted(study, call, ids)


def planted_call_of(world: World, length: int, hides_future: bool, seed: int) -> tuple[AttentionCall, Tensor]:
    """Return the attention call that ``planted_study`` would judge for the same arguments, and its token ids."""
    generator = torch.Generator().manual_seed(seed)
    ids = zipf_ids(DOCUMENTS, length, generator)
    return planted_call(world, ids, hides_future, generator), ids


def sequences_of(ids: Tensor) -> TokenBatch:
    """Return a ``TokenBatch`` in which each row of ``ids`` is one document, with some special and punctuation
    tokens.
    """
    from heedful.loading.sequences import TokenBatch

    return TokenBatch(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        document=torch.arange(len(ids)),
        document_names=tuple(str(i) for i in range(len(ids))),
        special=special_of(ids),
        punctuation=punctuation_of(ids),
        tokens=str,
        origin="calibration",
        notes=(),
        fingerprint="",
    )


def _settled() -> Array:
    """Statistics of null models that no planted effect comes near."""
    models = np.random.default_rng(0).normal(size=(SETTLED_MODELS, HEADS))
    return np.asarray(-1e6 + models)


def _visible(probed: ProbedCall) -> dict[str, Tensor]:
    """Later keys that a query sees, as far as ``hides_future`` asks."""
    seen = 0.0 if probed.event.call.visibility.is_causal else 1.0
    return {"visible_future": torch.full((probed.event.call.batch, probed.event.call.heads), seen)}


def _evidence(call: AttentionCall, batch: Batch, probes: list[Probe]) -> Evidence:
    module = nn.Identity()
    nothing = torch.empty(0)
    event = AttentionEvent(
        path="planted", module=module, way="", call=call, dropout=0.0, entering=None, run=lambda value: nothing
    )
    marks = torch.stack([batch.special, batch.punctuation], -1).float()
    probed = ProbedCall(event, nothing, batch, Extras(contrast=True, groups=Groups(keys=marks)))
    with torch.no_grad():
        found: dict[str, Tensor] = {}
        for probe in probes:
            found |= probe(probed)
    values = {name: tensor.double().numpy() for name, tensor in found.items()}
    return Evidence([LayerEvidence("planted", module, 0, call.heads, "", values)], {})
