"""Test promises end to end: change a token and compare the outputs that must not depend on it.

No mask can fool this, and it sees what no kernel shows: convolutions, norms over time, recurrent states, buffers that
rows of a batch share. It adds reach over layers, so that windows are judged elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from heedful.contract.batch_facts import BatchFacts
from heedful.contract.record import Promise
from heedful.errors import InputRejected

MOVED = 1e-5
"""Relative change of an output above which it moved: experts that regroup move others by 1e-7."""


ALONE = 1e-3
"""Relative difference of a padded row from the row alone that rounding does not explain."""

ELSEWHERE = 8
"""Further tokens that are changed before a model is said to hide the one beside each query."""

SIMPLE = frozenset(
    ["input_ids", "inputs_embeds", "attention_mask", "position_ids", "token_type_ids", "labels", "use_cache"]
)
"""Keys of batches of which one row can be taken alone."""

MEDIA = frozenset(["pixel_values", "pixel_values_videos", "input_features", "input_values", "image_grid_thw"])
"""Keys of a batch that hold pictures or sound, for which some ids stand."""


def embedding_of(model: nn.Module) -> nn.Module | None:
    """Return the module that embeds token ids, or None."""
    try:
        found = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError, TypeError):
        return None
    return found if isinstance(found, nn.Module) else None


@dataclass(frozen=True)
class Moved:
    """Outputs that moved, or failed to move, when one token was changed.

    Attributes:
        promise: Which promise forbids or demands it.
        broken: Whether it is a breach.
        message: What happened.
        sequence: Row of the batch.
        query: First output that moved and should not, or should and did not.
        key: Position that was changed.
        size: Relative change.
    """

    promise: str
    broken: bool
    message: str
    sequence: int | None = None
    query: int | None = None
    key: int | None = None
    size: float = 0.0


class TokenChanges:
    """Changes tokens of one batch and compares the outputs.

    Args:
        run: Runs the model once on given keyword arguments and gives its logits or hidden states.
        batch: The batch.
        facts: What the batch promises of the stream that is changed.
        direction: Which way all self-attention of that stream looks, or None.
        prefix: ``decoder_`` for the targets of a model with two streams.
        embedding: Module whose output is changed in place of ids, where ids stand for pictures as well; or None.
    """

    def __init__(
        self,
        run: Callable[[Mapping[str, Any]], Tensor],
        batch: Mapping[str, Any],
        facts: BatchFacts,
        direction: Promise | None,
        prefix: str = "",
        embedding: nn.Module | None = None,
    ) -> None:
        self.embedding = embedding
        self.run, self.batch, self.facts, self.direction, self.prefix = run, batch, facts, direction, prefix
        names = (f"{prefix}input_ids", f"{prefix}inputs_embeds", "idx")
        self.name = next((name for name in names if isinstance(batch.get(name), Tensor)), names[0])
        self.stream: Tensor | None = batch.get(self.name)
        self.forwards = 0
        self.unread = ""

    def judge(self, plain: Tensor, source_real: Tensor | None = None, *, learned: bool = False) -> list[Moved]:
        """Test the promises by changing a few tokens.

        Args:
            plain: Output of the batch as it is.
            source_real: ``(batch, position)`` padding of the source, where the model reads another stream.
            learned: Whether the model has a table of positions, so that padding before a text may move it.
        """
        stream = self.stream
        if not isinstance(stream, Tensor) or stream.dim() < 2 or tuple(plain.shape[:2]) != tuple(stream.shape[:2]):
            self.unread = "its output has other positions than its tokens, so that changed tokens cannot be followed"
            return []
        found = self._middle(plain)
        found += self._padding(plain)
        if learned:
            found += self._alone(plain)
        if source_real is not None and isinstance(self.batch.get("input_ids"), Tensor):
            found += self._source(plain, source_real)
        return found

    def _live(self, plain: Tensor) -> Tensor:
        live = torch.ones(plain.shape[:2], dtype=torch.bool, device=plain.device)
        if self.facts.real is not None and self.facts.real.shape == live.shape:
            live &= self.facts.real.to(live.device)
        if self.facts.labels is not None and self.facts.labels.shape == live.shape:
            live &= self.facts.labels.to(live.device) >= 0
        return live

    def _middle(self, plain: Tensor) -> list[Moved]:
        """One token in the first row: the last of its first document, or the middle one."""
        live, labels = self._live(plain), self.facts.labels
        places = live[0].nonzero()[:, 0]
        if len(places) < 2:
            return []
        place = int(places[len(places) // 2])
        if labels is not None and tuple(labels.shape) == tuple(live.shape):
            first = ((labels[0].to(live.device) == labels[0, int(places[0])]) & live[0]).nonzero()[:, 0]
            place = int(first[-1])
        moved = self._moves_with(plain, place)
        if moved is None:
            return []
        return self._of_middle(plain, moved, live, place)

    def _moves_with(self, plain: Tensor, place: int) -> Tensor | None:
        """How far each output moves with one token of the first row."""
        if self.embedding is not None:
            here = torch.zeros(plain.shape[:2], dtype=torch.bool, device=plain.device)
            here[0, place] = True
            return self._moves_embedded(plain, here)
        changed = self._changed(place, 0)
        return None if changed is None else self._moves(plain, changed)

    def _of_middle(self, plain: Tensor, moved: Tensor, live: Tensor, place: int) -> list[Moved]:
        labels = self.facts.labels
        found = self._other_rows(moved, live, place)
        if labels is not None and tuple(labels.shape) == tuple(live.shape):
            others = live[0] & (labels[0].to(live.device) != labels[0, place])
            found.append(self._moved("documents", moved[0], others, place, "a token of another document"))
            same = live[0] & ~others
        else:
            same = live[0]
        if float(moved[0][place]) <= MOVED:
            self.unread = "changing a token moved not even its own output"
            return found
        found += self._directed(plain, moved[0], same, place)
        return found

    def _directed(self, plain: Tensor, moved: Tensor, same: Tensor, place: int) -> list[Moved]:
        before = same.clone()
        before[place:] = False
        after = same.clone()
        after[: place + 1] = False
        if self.direction is None or not bool(before.any()):
            return []
        if self.direction.value == "causal":
            if self.facts.blocks is not None:
                return []
            found = [self._moved("direction", moved, before, place, "a later token")]
            nearest = after.nonzero()[:1, 0]
            if len(nearest) and float(moved[nearest]) == 0.0 and not self._seen_elsewhere(plain, same, place, 1):
                message = f"output {int(nearest)} does not move with token {place} just before it"
                found.append(Moved("direction", True, message, 0, int(nearest), place))
            return found
        unmoved = before & (moved == 0)
        if bool((moved[before] == 0).all()) and not self._seen_elsewhere(plain, same, place, -1):
            query = int(unmoved.nonzero()[0, 0])
            return [Moved("direction", True, f"no output before token {place} moves with it", 0, query, place)]
        return [Moved("direction", False, f"outputs on both sides of token {place} move with it", key=place)]

    def _seen_elsewhere(self, plain: Tensor, same: Tensor, place: int, step: int) -> bool:
        """Whether outputs beside other changed tokens move, half of them or more: one weight may round to 0.

        Args:
            plain: Output of the batch as it is.
            same: ``(position,)`` positions that may be tried.
            place: The token of which the neighbour did not move.
            step: 1 for the output behind the token, -1 for the one before.
        """
        places = [p for p in same.nonzero()[:, 0].tolist() if p != place and 0 <= p + step < len(same)]
        places = [p for p in places if bool(same[p + step])]
        places = places[:: max(1, len(places) // ELSEWHERE)][:ELSEWHERE]
        moves = [(other, self._moves_with(plain, other)) for other in places]
        seen = [float(moved[0][other + step]) > 0 for other, moved in moves if moved is not None]
        return 2 * sum(seen) >= max(1, len(seen))

    def _other_rows(self, moved: Tensor, live: Tensor, place: int) -> list[Moved]:
        if len(moved) < 2:
            return []
        beyond = (moved[1:] > MOVED) & live[1:]
        if not bool(beyond.any()):
            return [Moved("rows", False, "other rows of the batch do not move")]
        row, query = beyond.nonzero()[0].tolist()
        size = float(moved[row + 1, query])
        message = f"output {query} of row {row + 1} moves by {size:.1e} with a token of row 0"
        return [Moved("rows", True, message, row + 1, query, place, size)]

    def _moved(self, promise: str, moved: Tensor, forbidden: Tensor, place: int, what: str) -> Moved:
        wrong = (moved > MOVED) & forbidden
        if not bool(wrong.any()):
            size = float(moved[forbidden].max()) if bool(forbidden.any()) else 0.0
            return Moved(promise, False, f"outputs that may not see token {place} move by {size:.1e}", key=place)
        query = int(wrong.nonzero()[0, 0])
        size = float(moved[query])
        return Moved(
            promise, True, f"output {query} moves by {size:.1e} with token {place}, {what}", 0, query, place, size
        )

    def _padding(self, plain: Tensor) -> list[Moved]:
        """Every padded token at once: no live output may move."""
        real = self.facts.real
        if real is None or bool(real.all()) or tuple(real.shape) != tuple(plain.shape[:2]):
            return []
        moved = self._pads_moved(plain, self.name, real)
        return [] if moved is None else [self._moved_by_pads("padding", moved, real.to(plain.device), real)]

    def _alone(self, plain: Tensor) -> list[Moved]:
        """The first row that is padded on the left, without its padding: its outputs must be the same."""
        real = self.facts.real
        if real is None or tuple(real.shape) != tuple(plain.shape[:2]) or not set(self.batch) <= SIMPLE:
            return []
        rows = (~real[:, 0] & real.any(1)).nonzero()
        if not len(rows) or self.prefix:
            return []
        row = int(rows[0, 0])
        live = real[row]
        alone = {
            name: value[row : row + 1, live.to(value.device)]
            for name, value in self.batch.items()
            if name in (self.name, "token_type_ids") and isinstance(value, Tensor)
        }
        self.forwards += 1
        after, before = self.run(alone)[0].float(), plain[row, live.to(plain.device)].float()
        gap = (after - before).abs().flatten(1).amax(-1) / before.abs().max().clamp_min(1e-12)
        wrong = (gap > ALONE).nonzero()
        if not len(wrong):
            message = f"row {row} gives without its padding what it gives with it"
            return [Moved("positions", False, message, row)]
        place = int(live.nonzero()[int(wrong[0, 0]), 0])
        message = (
            f"output {place} of row {row} differs by {float(gap.max()):.1e} from that of the row without its padding"
        )
        return [Moved("positions", True, message, row, place, None, float(gap.max()))]

    def _source(self, plain: Tensor, real: Tensor) -> list[Moved]:
        if bool(real.all()):
            return []
        moved = self._pads_moved(plain, "input_ids", real)
        return [] if moved is None else [self._moved_by_pads("padding", moved, self._live(plain), real)]

    def _pads_moved(self, plain: Tensor, name: str, real: Tensor) -> Tensor | None:
        ids = self.batch[name]
        hidden = ~real.to(ids.device)
        if self.embedding is not None:
            return self._moves_embedded(plain, hidden)
        other = ids.clone()
        if ids.is_floating_point():
            other[hidden] = other[hidden] + ids.float().std().to(ids.dtype).clamp_min(0.1)
        else:
            known = ids[~hidden]
            if not len(known):
                return None
            other[hidden] = known[torch.arange(int(hidden.sum()), device=ids.device) % len(known)]
        return self._moves(plain, {**self.batch, name: other})

    def _moved_by_pads(self, promise: str, moved: Tensor, live: Tensor, real: Tensor) -> Moved:
        wrong = (moved > MOVED) & live
        if not bool(wrong.any()):
            return Moved(promise, False, "no live output moves with padding")
        sequence, query = wrong.nonzero()[0].tolist()
        key = int((~real[sequence]).nonzero()[0, 0]) if bool((~real[sequence]).any()) else None
        size = float(moved[sequence, query])
        return Moved(promise, True, f"output {query} moves by {size:.1e} with padding", sequence, query, key, size)

    def _changed(self, place: int, row: int) -> dict[str, Any] | None:
        stream = self.stream
        if stream is None:
            return None
        other = stream.clone()
        if stream.is_floating_point():
            other[row, place] = stream[row, place] + stream.float().std().to(stream.dtype).clamp_min(0.1)
        else:
            real = self._live(stream)
            different = stream[real & (stream != stream[row, place])]
            if not len(different):
                return None
            other[row, place] = different[len(different) // 2]
        return {**self.batch, self.name: other}

    def _moves_embedded(self, plain: Tensor, places: Tensor) -> Tensor | None:
        """Outputs that move when the embeddings at some places are changed."""
        done = False

        def change(module: nn.Module, args: Any, output: Any) -> Any:
            nonlocal done
            if not isinstance(output, Tensor) or tuple(output.shape[:2]) != tuple(places.shape):
                return None
            done = True
            return output + places[..., None].to(output) * output.float().std().to(output.dtype).clamp_min(0.1)

        if self.embedding is None:
            return None
        handle = self.embedding.register_forward_hook(change)
        try:
            moved = self._moves(plain, self.batch)
        finally:
            handle.remove()
        return moved if done else None

    def _moves(self, plain: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Largest change of each output, relative to the largest output: ``(batch, position)``."""
        self.forwards += 1
        after = self.run(batch)
        if after.shape != plain.shape:
            raise InputRejected("batch", "the model's output has another shape after a token was changed")
        gap = (after.float() - plain.float()).abs().nan_to_num(0.0, 0.0, 0.0).flatten(2).amax(-1)
        size = plain.float().abs().nan_to_num(0.0, 0.0, 0.0).max().clamp_min(1e-12)
        return gap / size
