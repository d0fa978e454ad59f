"""Interceptor for explicit attention: a softmax, followed by a product with values.

Such modules hold the whole ``(query, key)`` array themselves, so the call may carry it: query and key are zero, and the
logits stand in the bias. What enters the softmax is the weights' origin whatever made it (ALiBi, relative positions,
disentangled attention); the product with the values that follows is the module's own output, by which it is verified.
Which axes are sequences, heads, queries and keys is read from how logits and values were made, not from their shapes.

Find query positions when there are more keys than queries, from masks and from the growth of a cache.

Attention written out is told of nothing but its logits. Two things prove that query rows are the last positions of one
sequence: each row sees one key more than the row before it, up
to the last key, or the last key that is seen lies exactly as many positions
further on as there are new queries since the module's last call, which no cross-attention does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.visibility import Visibility
from heedful.errors import HeedfulError, UsageError
from heedful.interception.arrangement import Arrangement, arranged
from heedful.interception.form_rules import FEATURE, LEAD, Axes, kinds
from heedful.interception.interceptors.adapted import read
from heedful.interception.interceptors.head_loop import HeadCall, HeadLoops
from heedful.interception.interceptors.interceptor import Interceptor, call_context
from heedful.interception.interceptors.pair_values import TIMES, of_pairs
from heedful.interception.interceptors.product import NoAttention, Product, product_of
from heedful.interception.layout import axes_of
from heedful.interception.lineage import PRODUCTS, Node
from heedful.interception.rules import forget, hidden_in
from heedful.interception.stack import LOOKS_LIKE_ATTENTION, Frame
from heedful.interception.weights import (
    OverFeatures,
    Softmax,
    dropout_of,
    key_axis,
    refuse_changed,
    refuse_features,
    replayed,
    version_of,
)

WAY = "softmax"

SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax, torch.special.softmax)
MULTIPLIED = frozenset(["matmul", "bmm", "mm", "einsum", "baddbmm", "addmm", "inner"])


class SoftmaxRecorder:
    """Tracks torch functions from a softmax to its product with values."""

    def __init__(self, way: Interceptor) -> None:
        self.way = way
        self.pending: list[Softmax] = []
        self.rows = DecodeOffsets()
        self.loops = HeadLoops(way)
        way.stack.leaving = self.left

    def begins(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a softmax and record it as possible attention weights."""
        result = func(*args, **kwargs)
        logits = args[0] if args else kwargs.get("input")
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if not isinstance(logits, Tensor) or not isinstance(result, Tensor) or not isinstance(dim, int):
            return result
        with torch._C.DisableTorchFunction():
            if logits.dim() < 2 or not logits.is_floating_point() or not logits.numel():
                return result
            lineage, frames = self.way.lineage, tuple(self.way.stack.frames)
            source = lineage.known(logits)
            node = Node("softmax", (source,), {}, (source,), tuple(result.shape), content=source.content)
            node.softmax = Softmax(frames, logits, source, dim % logits.dim(), node, version=version_of(logits))
            lineage.put(result, node)
            if self.pending:
                self.pending = [one for one in self.pending if self.way.stack.runs(one.frames[-1])]
            self.pending.append(node.softmax)
        return result

    def multiplies(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a function, and capture it if it multiplies weights with values."""
        lineage = self.way.lineage
        if name == "einsum" and len(args) == 2 and isinstance(args[1], list | tuple):
            args = (args[0], *args[1])
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        nodes = [lineage.of(tensor) for tensor in tensors]
        places = [place for place, node in enumerate(nodes) if node is not None and node.softmax is not None]
        if not places:
            return func(*args, **kwargs)
        weights = nodes[places[0]]
        softmax: Softmax = weights.softmax  # type: ignore[union-attr]
        try:
            with torch._C.DisableTorchFunction():
                if len(places) > 1 and name not in TIMES:
                    raise HeedfulError("the weights of two softmaxes are multiplied")
                if softmax.multiplied and name not in TIMES:
                    raise HeedfulError("its weights meet two arrays of values, of which the first was measured")
                if softmax.version != version_of(softmax.logits):
                    raise HeedfulError("its logits were overwritten before the weights were multiplied with the values")
                given = tensors[places[0]]
                product = of_pairs(name, func, args, kwargs, softmax, axes_of(softmax.weights), given)
                if product is not None:
                    weights = softmax.weights
                elif name in TIMES:
                    return func(*args, **kwargs)
                else:
                    key = key_axis(softmax, weights)  # type: ignore[arg-type]
                    product = product_of(name, func, args, kwargs, not places[0], axes_of(weights), key)  # type: ignore[arg-type]
        except HeedfulError as error:
            for place in places:
                self._fails(nodes[place].softmax, error)  # type: ignore[union-attr]
            return func(*args, **kwargs)
        other = tensors[1 - places[0]]
        return self._multiply(softmax, weights, given, product, lineage.known(other))  # type: ignore[arg-type]

    def _fails(self, softmax: Softmax, error: HeedfulError) -> None:
        softmax.failed = softmax.failed or str(error)
        softmax.over_features = softmax.over_features or isinstance(error, OverFeatures)
        if isinstance(error, NoAttention) and not _named_attention(softmax.frames[-1]):
            return
        self._lists(softmax, softmax.failed)

    def _lists(self, softmax: Softmax, reason: str) -> None:
        frame = next((f for f in reversed(softmax.frames) if self.way.stack.runs(f)), softmax.frames[0])
        where = self.way.over_features if softmax.over_features else self.way.not_understood
        where.setdefault(frame.path, reason)
        self.way.stack.seen(frame)

    def left(self, frame: Frame, output: Any) -> Any:
        """When a module's forward ends, report a softmax without a product with values, or drop it after an error.

        Returns:
            Another output of the module, where its heads came in a loop and were replaced; None otherwise.
        """
        self._left(frame, output)
        if frame.reader is not None:
            return None if output is None else read(self.way, frame, frame.reader, output)
        return self.loops.ended(frame, output)

    def _left(self, frame: Frame, output: Any) -> None:
        own = [one for one in self.pending if one.frames[-1] is frame]
        if not own:
            return
        for softmax in own:
            if output is not None and not softmax.multiplied and self._returns(softmax, frame, output):
                softmax.frames = softmax.frames[:-1]
                continue
            self.pending.remove(softmax)
            forget(softmax.node)
            if output is not None and not softmax.multiplied:
                self._without_product(softmax)

    def _returns(self, softmax: Softmax, frame: Frame, output: Any) -> bool:
        """Whether the module gives these very weights to the one around it, which may multiply them."""
        if len(softmax.frames) < 2 or softmax.failed or frame.rows:
            return False
        first = output[0] if isinstance(output, tuple) and output else output
        node = self.way.lineage.of(first) if isinstance(first, Tensor) else None
        return node is not None and node.softmax is softmax

    def _without_product(self, softmax: Softmax) -> None:
        frame = softmax.frames[-1]
        if softmax.failed:
            if _named_attention(frame) or frame.rows:
                self._lists(softmax, softmax.failed)
            return
        over_tokens = LEAD in kinds(axes_of(softmax.node)[softmax.dim]) and softmax.logits.shape[softmax.dim] > 1
        if not (over_tokens or frame.rows or _named_attention(frame)):
            return
        if softmax.logits.dim() > 2 and softmax.dim == softmax.logits.dim() - 1 and over_tokens:
            self._alone(softmax)
            return
        shape = tuple(softmax.logits.shape)
        self._lists(softmax, f"its softmax is of shape {shape}, and no product of its weights with values was seen")

    def _alone(self, softmax: Softmax) -> None:
        """Meet weights whose product with values was never seen: their statistics are known, their output is not."""
        arrangement: list[Arrangement] = []

        def run(other: Tensor | None) -> Tensor:
            if other is not None:
                raise UsageError("the product of these weights with values was not seen; other values cannot be put in")
            return arrangement[0].standard(torch.softmax(softmax.logits, -1), whole=True)

        def describe() -> AttentionCall:
            logits, axes = softmax.logits, axes_of(softmax.node)
            if FEATURE in kinds(axes[-2]):
                raise OverFeatures("its queries are features and not tokens: no attention over tokens")
            arrangement.append(self._arranged(logits.shape[:-2], [axes[:-2]], softmax.frames[-1]))
            hidden = hidden_in(softmax.node, logits)
            return self._called(
                softmax, arrangement[0].standard(logits, whole=True), _standard(hidden, logits, arrangement[0]), None
            )

        frame = softmax.frames[-1]
        if self.loops.passes(frame):
            return
        head = self._one_head(softmax, frame, describe)
        if head is not None and self.loops.takes(frame, head):
            if not self.loops.answer(frame)[0]:
                self.loops.add(frame, HeadCall(softmax, head, None, None, None, f"{WAY} alone", 0.0))
            return
        described = describe if head is None else lambda: head
        answer = self.way.meet(frame.module, f"{WAY} alone", described, run, 0.0)
        if frame.path in self.way.not_understood:
            self.way.stack.seen(frame)
        if answer is not None and arrangement and tuple(answer.shape[-2:]) != tuple(softmax.logits.shape[-2:]):
            raise UsageError(
                f"replace: {frame.path}: its softmax was seen and no product with values; it cannot be replaced"
            )

    def _arranged(self, leading: Any, candidates: list[Axes], frame: Frame) -> Arrangement:
        batch = None if frame.entering is None else frame.entering.shape[0]
        return arranged(tuple(leading), candidates, heads=self.way.stack.heads_named(frame), batch=batch)

    def _multiply(self, softmax: Softmax, weights: Node, used: Tensor, product: Product, value: Node) -> Tensor:
        given: dict[str, Any] = {}
        frame = self.way.stack.owner(None, softmax.frames) or softmax.frames[-1]
        if self.loops.passes(frame):
            softmax.multiplied = True
            return product.plain()

        def run(other: Tensor | None) -> Tensor:
            arrangement: Arrangement = given["arrangement"]
            with self.way.inside():
                if product.pairs:
                    if other is None:
                        given["result"] = product.plain()
                    weighed = arrangement.standard(product.weights_in_order(_weights_of(softmax, weights)), whole=True)
                    weighed = weighed if other is None else weighed.to(other.dtype) @ other
                    given["output"] = weighed if other is None else given.get("output")
                    return weighed
                if other is None:
                    given["result"] = result = product.plain()
                else:
                    lengths = product.value_in_order(product.value).shape[:-2]
                    result = product.multiply(
                        product.own_value(arrangement.own(other, lengths)).to(product.value.dtype)
                    )
            output = arrangement.standard(product.result_in_order(result), whole=True)
            if other is None:
                given["output"] = output
            return output

        def describe() -> AttentionCall:
            refuse_changed(softmax, weights, used)
            try:
                call, given["arrangement"] = self._described(softmax, weights, product, value)
            except OverFeatures as error:
                self._fails(softmax, error)
                raise
            return call

        def put(answer: Tensor) -> Tensor:
            return self._put(product, given["arrangement"].own(answer))

        dropout, streams = dropout_of(softmax, weights), self._sources(softmax)
        head = self._one_head(softmax, frame, describe)
        if head is not None and self.loops.takes(frame, head):
            softmax.multiplied = True
            forget(softmax.node)
            known, answer = self.loops.answer(frame)
            if known:
                return product.plain() if answer is None else put(answer)
            own = run(None)
            self.loops.add(frame, HeadCall(softmax, head, own, put, run, WAY, dropout, streams))
            return given["result"]  # type: ignore[no-any-return]
        described = describe if head is None else lambda: head
        answer = self.way.meet(None, WAY, described, run, dropout, streams=streams, within=softmax.frames)
        softmax.multiplied = True
        forget(softmax.node)
        if answer is None:
            return given["result"] if "result" in given else product.plain()
        if answer is given.get("output"):
            return given["result"]  # type: ignore[no-any-return]
        return put(answer)

    def _put(self, product: Product, own: Tensor) -> Tensor:
        """The product in the module's own layout with an answer in that layout: an output, or weights of pairs."""
        if product.pairs:
            with self.way.inside():
                return product.reweigh(product.own_weights(own).to(product.value.dtype))
        return product.own_result(own).to(product.value.dtype).contiguous()

    def _one_head(self, softmax: Softmax, frame: Frame, describe: Callable[[], AttentionCall]) -> AttentionCall | None:
        """The call, described once, where it may be one head of a loop; None where it is no such call."""
        if softmax.logits.dim() != 3 or not self.loops.open(frame):
            return None
        try:
            with torch._C.DisableTorchFunction(), torch.no_grad():
                return describe()
        except Exception:  # it is reported where the call is described again
            return None

    @staticmethod
    def _sources(softmax: Softmax) -> tuple[Node | None, Node | None]:
        """Where query and key come from: the two factors of the product that the logits are."""
        node: Node | None = softmax.node
        while node is not None and node.name not in PRODUCTS:
            node = next((parent for parent in node.parents if parent.content), None)
        if node is None or len(node.parents) < 2 or node.name == "linear":
            return None, None
        return node.parents[-2], node.parents[-1]

    def _described(
        self, softmax: Softmax, weights: Node, product: Product, value: Node
    ) -> tuple[AttentionCall, Arrangement]:
        axes, theirs = axes_of(weights), product.value_axes(axes_of(value))
        order, own = product.weights
        ordered = [axes[own.index(letter)] for letter in order]
        width = () if product.pairs else theirs[-1]
        refuse_features(ordered[-1], theirs[-2], width, value, softmax.logits.shape[softmax.dim])
        frame = self.way.stack.owner(None, softmax.frames) or softmax.frames[-1]
        arrangement = self._arranged(product.leading, [tuple(ordered[:-2]), theirs[:-2]], frame)
        logits = replayed(softmax, weights, softmax.logits)
        logits = arrangement.standard(product.weights_in_order(logits), whole=True)
        hidden = hidden_in(softmax.node, softmax.logits)
        if hidden is not None:
            if weights is not softmax.weights:
                hidden = replayed(softmax, weights, hidden.expand(softmax.logits.shape))
            hidden = hidden[(None,) * (len(own) - hidden.dim())]
            hidden = arrangement.standard(product.weights_in_order(hidden))
        if product.pairs:
            one_hot = torch.eye(logits.shape[-1], dtype=logits.dtype, device=logits.device)
            return self._called(softmax, logits, hidden, one_hot.expand(*logits.shape[:2], -1, -1)), arrangement
        values = arrangement.standard(product.value_in_order(product.value))
        if values.shape[0] != logits.shape[0]:
            values = values.expand(logits.shape[0], *values.shape[1:])
        return self._called(softmax, logits, hidden, values), arrangement

    def _called(self, softmax: Softmax, logits: Tensor, hidden: Tensor | None, value: Tensor | None) -> AttentionCall:
        batch, heads, queries, keys = logits.shape
        hidden = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=logits.device) if hidden is None else hidden
        seen = ~hidden
        if seen.shape[1] > 1 and bool((seen == seen[:, :1]).all()):
            seen = seen[:, :1]
        call = call_context()(
            AttentionCall(
                query=logits.new_zeros(batch, heads, queries, 1),
                key=logits.new_zeros(batch, heads if value is None else value.shape[1], keys, 1),
                value=value,
                scale=1.0,
                visibility=Visibility(mask=seen) if bool(hidden.any()) else Visibility(),
                bias=logits.masked_fill(hidden, 0.0),
            )
        )
        offset = self.rows.offset_of(softmax.frames[-1].path, call)
        if offset is None or call.n_queries == call.n_keys:
            return call
        return replace(call, visibility=replace(call.visibility, offset=offset))


def _weights_of(softmax: Softmax, node: Node) -> Tensor:
    """The weights of a softmax in the layout that they have at this node."""
    return replayed(softmax, node, torch.softmax(softmax.logits, softmax.dim))


def _named_attention(frame: Frame) -> bool:
    return bool(LOOKS_LIKE_ATTENTION.search(type(frame.module).__name__))


def _standard(hidden: Tensor | None, logits: Tensor, arrangement: Arrangement) -> Tensor | None:
    return None if hidden is None else arrangement.standard(hidden[(None,) * (logits.dim() - hidden.dim())])


@dataclass
class DecodeOffsets:
    """Tracks the last key that each module's last query saw."""

    _ends: dict[str, int] = field(default_factory=dict)

    def offset_of(self, path: str, call: AttentionCall) -> int | None:
        """Return the key position of query 0, or None if it is unknown.

        Args:
            path: Module path.
            call: Its call, whose visibility is a mask, or hides nothing.
        """
        mask = call.visibility.mask
        if call.n_queries > call.n_keys:
            return None
        last = None if mask is None else last_seen(mask, call.n_keys)
        if mask is not None and last is None:
            return None
        end = call.n_keys - 1 if last is None else int(last[-1])
        before, self._ends[path] = self._ends.get(path), end
        first = end - call.n_queries + 1
        stairs = (
            last is not None
            and call.n_queries > 1
            and end == call.n_keys - 1  # a window to both sides steps as well
            and bool((last[1:] - last[:-1] == 1).all())
        )
        if stairs or (before is not None and before + call.n_queries == end):
            return first
        return None


def last_seen(mask: Tensor, n_keys: int) -> Tensor | None:
    """Return the last key that each query sees in any sequence or head; None if a query sees nothing.

    Args:
        mask: ``(batch, head, query, key)`` bool, axes of length 1 where all are alike.
        n_keys: Number of keys.
    """
    seen = mask.expand(*mask.shape[:-1], n_keys).any(0).any(0)
    if not bool(seen.any(-1).all()):
        return None
    last: Tensor = n_keys - 1 - seen.flip(-1).int().argmax(-1)
    return last
