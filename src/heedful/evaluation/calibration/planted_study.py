"""Build a ``Study`` from simulated attention with planted effects, so that probes and verdicts can be tested without a
model.

Generate attention calls whose logits contain known, planted effects: random content, position, equal tokens, and
keys that attract all queries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.attention.engines.groups import Groups
from heedful.attention.engines.moments import Extras
from heedful.attention.visibility import Visibility, bidirectional, causal
from heedful.evaluation.evidence import Array, Evidence, LayerEvidence, Probe, ProbedCall
from heedful.evaluation.null_inputs import repeated
from heedful.evaluation.probes import growth, query_variation, repeats, row_statistics, same_token, token_groups
from heedful.evaluation.query_key_orientation import Orientation
from heedful.evaluation.settings import Settings
from heedful.evaluation.study import Study
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


VOCABULARY, CODE, CONTENT = 64, 32, 16
HEADS, DOCUMENTS = 8, 16


@dataclass(frozen=True, kw_only=True)
class World:
    """Sizes of the effects that are planted in a simulated attention call.

    Attributes:
        name: What the table calls it.
        content: Standard deviation of a logit's own content, independent for every pair.
        between: Standard deviation over documents of the log of that.
        keys: Standard deviation of a key's popularity, shared by all queries of a document.
        near: Added to keys 1 to 5 positions away.
        same: Added between equal tokens.
        groups: Added to special tokens and to punctuation.
        previous: Mass meant for the previous key; 0 plants nothing.
        sink: Mass meant for the first key.
        follows: Mass meant for the token after the earlier copy, on random repeats.
    """

    name: str
    content: float
    between: float = 0.2
    keys: float = 0.0
    near: float = 0.0
    same: float = 0.0
    groups: float = 0.0
    previous: float = 0.0
    sink: float = 0.0
    follows: float = 0.0


IID = World(name="iid logits", content=1.0)
KEYS = World(name="key effects", content=1.0, keys=1.0)
FLAT = World(name="weak", content=0.2, keys=0.15, near=math.log(1.25), same=math.log(1.25), groups=math.log(1.3))
POINTED = World(name="pointed", content=1.0, previous=0.4, sink=0.3, between=0.2)
FOLLOWS = World(name="repeats", content=0.5, follows=0.4)


def zipf_ids(documents: int, length: int, generator: torch.Generator) -> Tensor:
    """Draw token ids from a small vocabulary by Zipf's law, ``(document, token)``."""
    share = 1.0 / torch.arange(1.0, VOCABULARY + 1)
    return torch.multinomial(share, documents * length, replacement=True, generator=generator).view(documents, length)


def special_of(ids: Tensor) -> Tensor:
    """Return a bool mask, ``(document, token)``, of the tokens that count as special: position 5 and every 13th after
    it, whatever the token id.
    """
    return (torch.arange(ids.shape[1]) % 13 == 5).expand_as(ids)


def punctuation_of(ids: Tensor) -> Tensor:
    """Return a bool mask of tokens that count as punctuation: ids divisible by 7."""
    return (ids % 7 == 0) & ~special_of(ids)


def planted_call(world: World, ids: Tensor, hides_future: bool, generator: torch.Generator) -> AttentionCall:
    """Return one attention call over all documents with the effects that ``world`` plants.

    Args:
        world: How its logits come about.
        ids: ``(document, token)``.
        hides_future: Whether it is causal.
        generator: Randomness of content and codes.

    Returns:
        A call of ``HEADS`` heads, each with content of its own.
    """
    (documents, length), shape = ids.shape, (*ids.shape[:1], HEADS, ids.shape[1])

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    spread = world.content * (world.between * normal(documents, HEADS, 1, 1)).exp()
    root = (spread / math.sqrt(CONTENT)).sqrt()
    query, key = [root * normal(*shape, CONTENT)], [root * normal(*shape, CONTENT)]
    lift = world.keys * normal(*shape) + _group_lift(world, ids, normal(documents, HEADS, 2))
    lift[:, :, 0] += _towards(world.sink, world, length, hides_future)
    query.append(torch.ones(*shape, 1))
    key.append(lift[..., None])
    if world.same or world.follows:  # a document has codes of its own, or what they share by chance would seem true
        codes = torch.sign(normal(documents, HEADS, VOCABULARY, CODE)) / math.sqrt(CODE)
        tokens = codes.gather(2, ids[:, None, :, None].expand(*shape, CODE))
        query.append((world.same or _towards(world.follows, world, length, hides_future)) * tokens)
        key.append(tokens if world.same else tokens.roll(1, dims=2))
    rule: Visibility = causal() if hides_future else bidirectional()
    bias = _by_position(world, length, hides_future)
    return AttentionCall(query=torch.cat(query, -1), key=torch.cat(key, -1), scale=1.0, visibility=rule, bias=bias)


def _group_lift(world: World, ids: Tensor, noise: Tensor) -> Tensor:
    marks = torch.stack([special_of(ids), punctuation_of(ids)], -1)[:, None].float()
    strength = torch.where(torch.tensor(world.groups > 0), world.groups + 0.1 * noise, torch.zeros_like(noise))
    return (marks * strength[:, :, None]).sum(-1)


def _towards(mass: float, world: World, length: int, hides_future: bool) -> float:
    """Logit that gives one key about this mass beside what else is planted."""
    if not mass:
        return 0.0
    seen = length / 2 if hides_future else length
    rest = 1.0 - world.previous - world.sink - world.follows
    return math.log(seen) + (world.content**2 + world.keys**2) / 2 + math.log(mass / rest)


def _by_position(world: World, length: int, hides_future: bool) -> Tensor | None:
    """Bias of distance, shared by documents, ``(1, 1, query, key)``."""
    if not world.near and not world.previous:
        return None
    back = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    near = (back.abs() <= 5) & (back != 0)
    bias = world.near * near + _towards(world.previous, world, length, hides_future) * (back == 1)
    return bias[None, None].float()
