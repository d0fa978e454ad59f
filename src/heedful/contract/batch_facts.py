"""Read what a batch promises: documents, padding, bidirectional blocks, an explicit mask, positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from heedful.contract.record import Contract
from heedful.errors import UsageError

HIDES_BELOW = -1e4
"""Entries of a float mask at or below this hide a key."""

LENGTHS = ("cu_seq_lens_q", "cu_seqlens_q", "cu_seqlens", "cu_seq_lens")
LABELS = ("seq_idx", "segment_ids", "document_ids", "sequence_ids")


@dataclass(frozen=True, kw_only=True)
class BatchFacts:
    """What a batch says about one of its token streams (the encoder's or the decoder's): documents, padding, masks.

    Attributes:
        labels: ``(batch, position)`` document of each position, below 0 where it is not known; None without documents.
        labels_source: Where they come from.
        real: ``(batch, position)`` bool, False at padding; None without a mask.
        real_source: Where it comes from.
        positions: ``(batch, position)`` as the batch names them, or None.
        masks: Kind of layer (empty: every kind) to bool ``(batch or 1, 1, query, key)``, True where visible.
        blocks: ``(batch, position)`` labels of blocks that look both ways, below 0 outside them, or None.
        blocks_source: Where they come from.
        notes: What a reader should know.
        contradiction: Two sources of documents that differ, or empty.
    """

    labels: Tensor | None = None
    labels_source: str = ""
    real: Tensor | None = None
    real_source: str = ""
    positions: Tensor | None = None
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    blocks: Tensor | None = None
    blocks_source: str = ""
    notes: tuple[str, ...] = ()
    contradiction: str = ""


def length_of(batch: Mapping[str, Any], prefix: str = "") -> tuple[int, int] | None:
    """Return the number of sequences and the number of positions of a token stream, or None if the batch doesn't
    contain it.
    """
    for name in (f"{prefix}input_ids", f"{prefix}inputs_embeds", *(() if prefix else ("idx",))):
        value = batch.get(name)
        if isinstance(value, Tensor) and value.dim() >= 2:
            return int(value.shape[0]), int(value.shape[1])
    return None


def unmarked_padding(batch: Mapping[str, Any], pad: Any, real: Tensor | None) -> str:
    """Return a note if rows begin or end in pad tokens that the mask calls tokens; an empty string otherwise.

    One such token may be an end of text, which often shares its id: runs of two and more count.

    Args:
        batch: Keyword arguments of the model's forward.
        pad: Id of the pad token; None without one.
        real: ``(batch, position)`` bool, False at padding; None without a mask.
    """
    ids = batch.get("input_ids")
    if not isinstance(ids, Tensor) or ids.dim() != 2 or not isinstance(pad, int) or isinstance(pad, bool):
        return ""
    filled = (ids == pad).long()
    runs = [side.cumprod(1).sum(1) for side in (filled, filled.flip(1))]
    place = torch.arange(ids.shape[1], device=ids.device)
    begins, ends = (torch.where(run >= 2, run, 0)[:, None] for run in runs)
    padded = (place < begins) | (place >= ids.shape[1] - ends)
    if real is not None and real.shape == padded.shape:
        padded = padded & real.to(padded.device)
    rows = int(padded.any(1).sum())
    if not rows:
        return ""
    said = "no attention_mask is given" if real is None else "attention_mask says that they are tokens"
    return (
        f"{rows} of {len(ids)} rows begin or end in pad tokens (id {pad}), and {said}: every query may see them; "
        "pass the tokenizer's attention_mask"
    )


def facts_of(batch: Mapping[str, Any], contract: Contract, *, prefix: str = "", model_type: str = "") -> BatchFacts:
    """Read the promises of a batch about one token stream.

    Args:
        batch: Keyword arguments of the model's forward.
        contract: What a person promises beyond it.
        prefix: ``decoder_`` for the targets of a model with two streams.
        model_type: Type of the whole model, by which token types are read.

    Raises:
        UsageError: Documents of the contract don't have the shape of the batch.
    """
    shape = length_of(batch, prefix)
    masks, real, real_source = _masks(batch.get(f"{prefix}attention_mask"), prefix)
    positions = batch.get(f"{prefix}position_ids")
    positions = positions if isinstance(positions, Tensor) and positions.dim() == 2 else None
    if positions is not None and shape is not None and positions.shape[0] == 1:
        positions = positions.expand(shape[0], -1)
    sources: dict[str, Tensor] = {}
    notes: list[str] = []
    if not prefix or contract.documents is None:
        _from_positions(positions, real, sources, notes, f"batch['{prefix}position_ids'] that begin again")
    if not prefix and shape is not None:
        _from_lengths(batch, shape, sources)
        for name in LABELS:
            value = batch.get(name)
            if isinstance(value, Tensor) and tuple(value.shape) == shape:
                sources[f"batch['{name}']"] = value.long()
        mask = batch.get("attention_mask")
        if isinstance(mask, Tensor) and mask.dim() == 2 and not mask.is_floating_point() and bool((mask > 1).any()):
            sources["batch['attention_mask'] that numbers documents"] = mask.long() - 1
    labels, source, contradiction = _agreed(sources, real)
    if contract.documents is not None and not prefix and shape is not None:
        labels, source, contradiction = _own_labels(contract.documents, shape), "contract", ""
    blocks, blocks_source = _blocks(batch, model_type, shape, contract) if not prefix else (None, "")
    return BatchFacts(
        labels=labels,
        labels_source=source,
        real=real,
        real_source=real_source,
        positions=positions,
        masks=masks,
        blocks=blocks,
        blocks_source=blocks_source,
        notes=tuple(notes),
        contradiction=contradiction,
    )


def _masks(mask: Any, prefix: str) -> tuple[dict[str, Tensor], Tensor | None, str]:
    name = f"batch['{prefix}attention_mask']"
    if isinstance(mask, Mapping):
        whole = {str(kind): seen for kind, one in mask.items() if (seen := _visible(one)) is not None}
        return whole, None, ""
    if not isinstance(mask, Tensor):
        return {}, None, ""
    if mask.dim() == 2:
        return {}, mask != 0, name
    seen = _visible(mask)
    return ({} if seen is None else {"": seen}), None, ""


def _visible(mask: Any) -> Tensor | None:
    if not isinstance(mask, Tensor) or mask.dim() != 4:
        return None
    return mask[:, :1] if mask.dtype == torch.bool else mask[:, :1] > HIDES_BELOW


def _from_positions(
    positions: Tensor | None, real: Tensor | None, sources: dict[str, Tensor], notes: list[str], name: str
) -> None:
    if positions is None or positions.shape[1] < 2:
        return
    before, own = positions[:, :-1], positions[:, 1:]
    begins = (own < before) | ((own == 0) & (before == 0))
    jumps = own > before + 1
    equal = (own == before) & (own != 0)
    trailing = (positions == 0).flip(1).long().cumprod(1).flip(1).bool()
    trailing &= trailing.sum(1, keepdim=True) > 1
    live = torch.ones_like(positions, dtype=torch.bool) if real is None else real
    live = live & ~trailing
    both = live[:, 1:] & live[:, :-1]
    if bool(trailing.any()):
        notes.append("positions that end in zeros are taken for padding, not for documents of one token")
    if bool((jumps & both).any()) or bool((equal & both).any()):
        what = "jump forward" if bool((jumps & both).any()) else "repeat"
        notes.append(
            f"positions {what} within a row: some kernels take that for a new document and some don't; "
            "name the documents (documents=...)"
        )
        return
    if not bool((begins & both).any()):
        return
    labels = torch.nn.functional.pad((begins & both).long().cumsum(1), (1, 0))
    sources[name] = labels.masked_fill(~live, -1)


def _from_lengths(batch: Mapping[str, Any], shape: tuple[int, int], sources: dict[str, Tensor]) -> None:
    for name in LENGTHS:
        ends = batch.get(name)
        if isinstance(ends, Tensor) and ends.dim() == 1 and len(ends) > 2:
            place = torch.arange(shape[0] * shape[1], device=ends.device)
            labels = torch.searchsorted(ends.to(torch.int64), place, right=True) - 1
            beyond = place >= int(ends[-1])
            sources[f"batch['{name}']"] = labels.masked_fill(beyond, -1).view(shape)
            return


def _agreed(sources: dict[str, Tensor], real: Tensor | None) -> tuple[Tensor | None, str, str]:
    """One packing out of all sources, or the two that differ."""
    if not sources:
        return None, "", ""
    (name, labels), *others = sources.items()
    for other, theirs in others:
        theirs = theirs.to(labels.device)
        known = (labels >= 0) & (theirs >= 0)
        if real is not None:
            known = known & real.to(labels.device)
        pairs = known[:, 1:] & known[:, :-1]
        mine, its = labels[:, 1:] != labels[:, :-1], theirs[:, 1:] != theirs[:, :-1]
        if bool(((mine != its) & pairs).any()):
            return None, "", f"documents: {name} and {other} put their edges at different places"
    if real is not None:
        labels = labels.masked_fill(~real.to(labels.device), -1)
    return labels, " and ".join(sources), ""


def _own_labels(given: Any, shape: tuple[int, int]) -> Tensor:
    labels = torch.as_tensor(given)
    labels = labels[None] if labels.dim() == 1 else labels
    if labels.is_floating_point() or tuple(labels.shape) not in (shape, (1, shape[1])):
        raise UsageError(
            f"documents: expected a whole number for each of {shape[0]} rows of {shape[1]} tokens, "
            f"got shape {tuple(labels.shape)} of {labels.dtype}"
        )
    return labels.long().expand(shape)


def _blocks(
    batch: Mapping[str, Any], model_type: str, shape: tuple[int, int] | None, contract: Contract
) -> tuple[Tensor | None, str]:
    if contract.prefix is not None and shape is not None:
        own = torch.full(shape, -1)
        own[:, : contract.prefix] = 0
        return own, "contract"
    kinds = batch.get("token_type_ids")
    if not isinstance(kinds, Tensor) or kinds.dim() != 2:
        return None, ""
    if model_type == "paligemma":
        return torch.where(kinds == 0, 0, -1), "batch['token_type_ids'], 0 is the prefix"
    if model_type == "gemma3":
        image = kinds == 1
        begins = image & ~torch.nn.functional.pad(image, (1, 0))[:, :-1]
        return torch.where(image, begins.long().cumsum(1) - 1, -1), "batch['token_type_ids'], 1 is an image"
    return None, ""
