"""Test promises by the model's behaviour on one batch: change tokens and compare the outputs, and take gradients in
each block.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from heedful.contract.changes import MEDIA, Moved, TokenChanges, embedding_of
from heedful.contract.gradients import Cut, CutStream, seen_positions
from heedful.contract.invariances import InvarianceResult, Invariances
from heedful.contract.kernels import KernelJudge, of_one_query
from heedful.contract.promises import PromiseReader
from heedful.contract.record import Breach, Judgement, Promise, Status
from heedful.contract.rules import Rules
from heedful.contract.running import is_quantised, main_tensor
from heedful.errors import HeedfulError, InputRejected
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept
from heedful.loading.positions import learned_positions

SEED = 20_030


class Behaviour:
    """Tests promises by behaviour, in each block and in the whole model.

    Args:
        reader: Reads what is promised.
        judge: What the kernels said.
        run: Runs the model.
        batch: The batch.

    Attributes:
        judgements: Of the whole model, and of blocks that break a promise beside their attention.
        undecided: What could not be asked, and why.
        experiments: Path and promise to what an experiment showed.
        reached: Attention modules whose output reaches that of their block, as its gradient shows.
    """

    def __init__(self, reader: PromiseReader, judge: KernelJudge, run: Any, batch: Mapping[str, Any]) -> None:
        self.reader, self.judged, self.run, self.batch = reader, judge, run, batch
        self.judgements: list[Judgement] = []
        self.experiments: dict[tuple[str, str], InvarianceResult] = {}
        self.reached: set[str] = set()
        self.undecided: list[str] = []
        self._blocks: dict[tuple[str, str], str] = {}
        self._whole: dict[str, str] = {}

    def judge(self, output: Any, *, gradients: bool = True) -> None:
        """Test the promises by changing tokens and taking gradients.

        Args:
            output: The model's output on the batch as it is.
            gradients: Whether gradients are taken.
        """
        try:
            plain = main_tensor(output)
            self._changes(plain)
        except InputRejected as error:
            self.undecided.append(f"behaviour: {error}")
        self._invariances()
        if not gradients:
            return
        try:
            self._gradients()
        except (RuntimeError, NotImplementedError, ValueError, HeedfulError) as error:
            message = " ".join(str(error).split())[:140]
            self.undecided.append(f"gradients through each layer: {type(error).__name__}: {message}")

    def shown(self, path: str, promise: str) -> str:
        """Return the behavioural result for a promise, in the block around a module or in the whole model."""
        for (block, name), message in self._blocks.items():
            if name == promise and (path == block or path.startswith(f"{block}.")):
                return message
        if (path, promise) in self.experiments:
            return str(self.experiments[path, promise].status)
        if (path, promise) in self.judged.formulas:
            return self.judged.formulas[path, promise]
        return self._whole.get(promise, "")

    def _invariances(self) -> None:
        asked = Invariances(self.reader, self.judged, self.run, self.batch)
        try:
            asked.judge()
        except (RuntimeError, NotImplementedError, ValueError, TypeError, IndexError, KeyError, HeedfulError) as error:
            asked.why_not = f"{type(error).__name__}: {' '.join(str(error).split())[:140]}"
        if asked.why_not:
            self.undecided.append(f"grouping and rotary by behaviour: {asked.why_not}")
        self.experiments = asked.said

    def _direction(self) -> Promise | None:
        """The direction of the stream whose tokens are changed, where every self-attention of it is promised one."""
        found: list[Promise] = []
        for path in self.judged.self_attention():
            place = self.reader.place(path, self.reader.modules[path])
            if self.reader.two_sided and place.side == "encoder":
                continue
            direction = self.judged.rules[path].direction
            if direction is None:
                return None
            found.append(direction)
        return found[0] if len({one.value for one in found}) == 1 else None

    def _changes(self, plain: Tensor) -> None:
        if self.reader.has_sides and not self.reader.two_sided:
            self.undecided.append("changed tokens: the batch names no targets (decoder_input_ids)")
            return
        if any(getattr(getattr(m, "config", None), "expert_capacity", None) for m in self.reader.modules.values()):
            self.undecided.append("changed tokens: experts take a fixed number of tokens, so that one moves others")
            return
        if is_quantised(self.run.model):
            self.undecided.append("changed tokens: quantised activations may share one scale, which every token moves")
            return
        prefix = "decoder_" if self.reader.two_sided else ""
        facts = self.reader.target_facts if prefix else self.reader.facts
        embedding = embedding_of(self.run.model) if MEDIA & set(self.batch) else None
        changes = TokenChanges(self.run.output, self.batch, facts, self._direction(), prefix, embedding)
        source = self.reader.facts.real if prefix else None
        learned = learned_positions(self.run.model) is not None
        for moved in changes.judge(plain, source, learned=learned):
            self._keep(moved, self._direction())
        if changes.unread:
            self.undecided.append(f"changed tokens: {changes.unread}")

    def _keep(self, moved: Moved, direction: Promise | None) -> None:
        name = moved.promise
        promise = direction if name == "direction" and direction is not None else self._promise(name)
        if not moved.broken:
            self._whole.setdefault(name, "held")
            if name in ("rows", "positions"):
                self.judgements.append(self._whole_model(promise, Status.HELD, moved))
            return
        if name == "padding" and not self._kernels(name, Status.BROKEN):
            # A mask promises that attention does not see padding; convolutions and states are promised nothing.
            self._whole[name] = "moves beside attention"
            self.judgements.append(self._whole_model(promise, Status.NOT_PROMISED, moved))
            return
        self._whole[name] = "BROKEN"
        if not any(one.promise == name and one.status is Status.BROKEN for one in self.judgements):
            self.judgements.append(self._whole_model(promise, Status.BROKEN, moved))

    def _promise(self, name: str) -> Promise:
        if name == "positions":
            return Promise("positions", "a padded row gives what it gives alone", "learned positions, left padding")
        if name == "rows":
            return Promise("rows", "no row sees another row", "definition of a batch")
        made = [rules.named()[name] for rules in self.judged.rules.values() if name in rules.named()]
        others = {"documents": self.reader.facts.labels_source, "padding": self.reader.facts.real_source}
        return made[0] if made else Promise(name, "unseen", others.get(name, ""))

    def _whole_model(self, promise: Promise, status: Status, moved: Moved) -> Judgement:
        breach = None
        if status is Status.BROKEN:
            breach = Breach(
                proof="changed token",
                expected=_expected(promise, moved),
                found=moved.message,
                sequence=moved.sequence,
                query=moved.query,
                key=moved.key,
                size=moved.size,
            )
        broken, held = (self._kernels(promise.name, one) for one in (Status.BROKEN, Status.HELD))
        kernel = "BROKEN" if broken else "held" if held else ""
        return Judgement(
            promise=promise.name,
            path="",
            layer=None,
            status=status,
            value=str(promise.value),
            source=promise.source,
            found=moved.message,
            kernel=kernel,
            behaviour=str(status),
            breach=breach,
        )

    def _kernels(self, name: str, status: Status) -> bool:
        return any(one.status is status for (_, other), one in self.judged.judgements.items() if other == name)

    def _gradients(self) -> None:
        if is_quantised(self.run.model):
            self.undecided.append("gradients: those through quantised layers cannot be trusted")
            return
        rules = {path: one for path, one in self.judged.self_attention().items() if one.queries == one.keys}
        shapes = {(self._batch_of(one), one.keys) for one in rules.values()}
        stream = self._stream_shape()
        if stream is None or (0, stream[1]) not in {(0, keys) for _, keys in shapes}:
            return
        generator = torch.Generator().manual_seed(SEED)
        cutting = CutStream(stream)
        added: list[tuple[str, Tensor]] = []

        def answer(event: AttentionEvent) -> Tensor | None:
            if event.call.value is None:
                return None
            own = event.run(None)
            added.append((event.path.split("#")[0], torch.zeros_like(own, requires_grad=True)))
            return own + added[-1][1]

        with ExitStack() as stack, torch.enable_grad():
            cutting.install(self.run.model, stack)
            stack.enter_context(intercept(self.run.model, answer))
            self.run(self.batch)
        for queries in self._queries(stream):
            seen, reached = seen_positions(cutting.cuts, queries, generator, [one for _, one in added])
            self.reached |= {path for (path, _), yes in zip(added, reached, strict=True) if yes}
            for index, positions in seen.items():
                self._judge_cut(cutting.cuts[index], positions, queries, rules)

    @staticmethod
    def _batch_of(rules: Rules) -> int:
        return 0 if rules.labels is None else len(rules.labels)

    def _stream_shape(self) -> tuple[int, int] | None:
        from heedful.contract.batch_facts import length_of

        return length_of(self.batch, "decoder_" if self.reader.two_sided else "")

    def _queries(self, stream: tuple[int, int]) -> list[Tensor]:
        """One query a row: three quarters into its last document; where rows are packed, its first position as well."""
        facts = self.reader.target_facts if self.reader.two_sided else self.reader.facts
        packed = facts.labels is not None and tuple(facts.labels.shape) == stream
        first, late = [], []
        for row in range(stream[0]):
            live = torch.ones(stream[1], dtype=torch.bool)
            if facts.real is not None and tuple(facts.real.shape) == stream:
                live &= facts.real[row].cpu()
            if packed:
                labels = facts.labels[row].cpu()  # type: ignore[index]
                live &= labels >= 0
                if bool(live.any()):
                    live &= labels == labels[live.nonzero()[-1, 0]]
            places = live.nonzero()[:, 0].tolist() or [0]
            first.append(places[0])
            late.append(places[(3 * len(places)) // 4 - (len(places) > 3)])
        return [torch.tensor(late), torch.tensor(first)] if packed else [torch.tensor(late)]

    def _judge_cut(self, cut: Cut, positions: Tensor, queries: Tensor, rules: Mapping[str, Rules]) -> None:
        inside = {p: r for p, r in rules.items() if (p == cut.path or p.startswith(f"{cut.path}."))}
        if not inside:
            made = self._blockless(cut, positions)
            if made is None:
                return
            inside = {cut.path: made}
        keys = torch.arange(positions.shape[1], device=positions.device)
        names = set.intersection(*(set(one.named()) for one in inside.values()))
        for name in sorted(names - {"mask", "blocks"}):
            if any(one.exercised(name) for one in inside.values()):
                continue
            self._one_promise(cut, name, positions, queries, list(inside.values()), keys)

    def _one_promise(
        self, cut: Cut, name: str, positions: Tensor, queries: Tensor, rules: list[Rules], keys: Tensor
    ) -> None:
        promise = rules[0].named()[name]
        judged = False
        for row, query in enumerate(queries.tolist()):
            hidden = torch.ones(len(keys), dtype=torch.bool, device=keys.device)
            for one in rules:
                pairs = of_one_query(one, query).hidden(keys)
                if name not in pairs:
                    return
                hidden &= pairs[name].expand(len(queries), -1, -1)[row, 0]
            judged = judged or bool(hidden.any())
            wrong = (positions[row] & hidden).nonzero()
            if len(wrong):
                self._broken_block(cut, promise, row, query, int(wrong[0, 0]), len(wrong))
                return
        if judged:
            self._blocks.setdefault((cut.path, name), "held")

    def _broken_block(self, cut: Cut, promise: Promise, row: int, query: int, key: int, count: int) -> None:
        if self._blocks.get((cut.path, promise.name)) == "BROKEN":
            return
        self._blocks[cut.path, promise.name] = "BROKEN"
        own = [
            one
            for (path, name), one in self.judged.judgements.items()
            if name == promise.name and (path == cut.path or path.startswith(f"{cut.path}."))
        ]
        if any(one.status is Status.BROKEN for one in own):
            return
        self.judgements.append(
            Judgement(
                promise=promise.name,
                path=cut.path,
                layer=own[0].layer if own else None,
                status=Status.BROKEN,
                value=str(promise.value),
                source=promise.source,
                found=f"the block mixes positions outside its attention: {count} positions reach query {query}",
                kernel="held" if own else "no attention call",
                behaviour="BROKEN",
                breach=Breach(
                    proof="gradient",
                    expected=f"query {query} does not see key {key}",
                    found=f"output {query} of the block depends on position {key}",
                    sequence=row,
                    query=query,
                    key=key,
                ),
            )
        )

    def _blockless(self, cut: Cut, positions: Tensor) -> Rules | None:
        """Rules of a block without attention: the direction of its stream, documents and padding."""
        module: nn.Module | None = self.reader.modules.get(cut.path)
        if module is None:
            return None
        place = self.reader.place(cut.path, module)
        facts = self.reader.target_facts if place.side == "decoder" else self.reader.facts
        direction, _ = self.reader.direction(place)
        same = tuple(positions.shape)
        labels = facts.labels if facts.labels is not None and tuple(facts.labels.shape) == same else None
        documents = None if labels is None else Promise("documents", "own document alone", facts.labels_source)
        return Rules(
            queries=same[1],
            keys=same[1],
            direction=direction,
            documents=documents,
            labels=labels,
            block_labels=facts.blocks,
            own_only=False,
        )


def _expected(promise: Promise, moved: Moved) -> str:
    if promise.name == "positions":
        return "the row's outputs without its padding"
    if promise.name == "rows":
        return "no output of another row moves"
    if moved.size == 0.0:
        return f"output {moved.query} moves with token {moved.key}"
    return f"output {moved.query} does not move with token {moved.key}"
