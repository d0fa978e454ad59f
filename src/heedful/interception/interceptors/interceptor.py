"""Shared part of all interceptors: match calls to a model, describe them, and note calls not understood.

Pass facts about an attention call from an outer interceptor to an inner one.

Where captures are nested, the innermost answers ``nn.MultiheadAttention`` and the others see only the
``scaled_dot_product_attention`` or the softmax inside it, which know nothing of padded queries and appended keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from dataclasses import replace as changed

import torch
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.errors import HeedfulError
from heedful.interception.event import Answer, AttentionEvent
from heedful.interception.held_heads import part_of
from heedful.interception.layout import are_parts
from heedful.interception.lineage import Lineage, Node
from heedful.interception.padding import rows_unknown, with_padding
from heedful.interception.stack import Frame, ModuleStack, heads_of
from heedful.interception.streams import follows, is_cross, of_one_text
from heedful.interception.weights import OverFeatures

_interpreters, _tracing = torch._C._functorch.peek_interpreter_stack, torch._C._get_tracing_state
_exporting = torch.compiler.is_exporting

TRANSFORMED = "torch.func.vmap"
TRACED = "torch.jit.trace"
EXPORTED = "torch.export"

POOLED = "some of its keys are padding, and which of its queries are is not known: they are no single positions"


@dataclass
class Interceptor:
    """Intercepts the attention calls of one model and passes each to ``answer``.

    Attributes:
        stack: The model's running modules.
        answer: What is done with each event.
        lineage: Where the tensors of the running forward come from.
        not_understood: Path to reason of calls that were met and could not be described.
        over_features: The same of softmaxes over features; beside attention over tokens they take nothing from it.
        notes: Subject to what being watched changes about it, or why it was not watched.
        closed: Whether the interception is over.
    """

    stack: ModuleStack
    answer: Answer
    lineage: Lineage = field(default_factory=Lineage)
    not_understood: dict[str, str] = field(default_factory=dict)
    over_features: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    closed: bool = False
    described: set[str] = field(default_factory=set)
    _busy: int = 0
    _keys: dict[str, Node | None] = field(default_factory=dict)

    def concerns(self, module: nn.Module | None) -> bool:
        """Return whether a module belongs to the intercepted model; None stands for the module that is running."""
        stack = self.stack
        if self.closed or self._busy or not stack.frames or stack.elsewhere():
            return False
        if stack.adapted:
            return False  # an adapter reads the attention of this module from its output
        if _interpreters() is not None and _is_vmapped():
            self.notes.setdefault(
                TRANSFORMED, "what ran inside torch.func.vmap was not measured; run each member alone"
            )
            return False
        if _tracing() is not None:
            self.notes.setdefault(
                TRACED, "what ran while torch.jit.trace recorded was not measured; run the model itself"
            )
            return False
        if _exporting():
            self.notes.setdefault(
                EXPORTED, "what ran while torch.export read it was not measured; run the model itself"
            )
            return False
        return module is None or id(module) in stack.paths

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Return a context for the model's own kernel, in which inner calls are not captured again."""
        self._busy += 1
        try:
            with torch._C._EnableTorchFunction():
                yield
        finally:
            self._busy -= 1

    def _answered(self, event: AttentionEvent) -> Tensor | None:
        """What is done with an event, unseen by function modes: heedful does not watch itself."""
        self._busy += 1
        try:
            with torch._C.DisableTorchFunction():
                return self.answer(event)
        finally:
            self._busy -= 1

    def meet(
        self,
        module: nn.Module | None,
        way: str,
        describe: Callable[[], AttentionCall],
        run: Callable[[Tensor | None], Tensor],
        dropout: float,
        *,
        streams: Sequence[Node | None] = (None, None),
        within: tuple[Frame, ...] | None = None,
    ) -> Tensor | None:
        """Describe one attention call, pass it to ``answer``, and return the replaced output or None.

        Args:
            module: The module as the caller knows it, or None.
            way: How the call was met.
            describe: Gives the call.
            run: The model's own kernel.
            dropout: Probability with which it drops weights.
            streams: Where query and key come from.
            within: The frames that ran when the call began, where it began earlier.

        Returns:
            The tensor to use in place of the kernel's output, or None to let the kernel run.
        """
        frame = self.stack.owner(module, within)
        if frame is None:
            self.not_understood.setdefault("", "an attention call belongs to no module of the model")
            return None
        path = self.stack.path_of(frame)
        try:
            with torch._C.DisableTorchFunction(), torch.no_grad():
                call = describe()
                if not call.cross and not call.visibility.is_causal and is_cross(call, *streams):
                    call = changed(call, cross=True)
                call = with_padding(call, self.stack.frames)
                if rows_unknown(call) and of_one_text(*streams):
                    self.not_understood.setdefault(path, POOLED)
                part = part_of(frame.module, call)
                rows = call.batch * call.n_queries
        except OverFeatures as error:
            self.over_features.setdefault(path, str(error))
            return None
        except HeedfulError as error:
            self.not_understood.setdefault(path, str(error))
            return None
        except Exception as error:  # whatever it is, the model's own forward goes on
            message = " ".join(str(error).split())[:200]
            self.not_understood.setdefault(path, f"it could not be described: {type(error).__name__}: {message}")
            return None
        if module is None and part is None:
            self._complain(frame, call, streams[0])
        path = self.stack.numbered(frame, rows)
        self.described.add(path)
        before, self._keys[path] = self._keys.get(path), streams[1]
        event = AttentionEvent(
            path=path,
            module=frame.module,
            way=way,
            call=call,
            dropout=dropout,
            entering=frame.entering,
            run=run,
            part=part,
            invocation=frame.number,
            follows=follows(streams[1], before),
        )
        return self._answered(event)

    def _complain(self, frame: Frame, call: AttentionCall, query: Node | None) -> None:
        """Note that a module's heads come in several calls, or that a call shows some of them."""
        named = heads_of(frame.module)
        if named != call.heads and query is not None and frame.queries and are_parts([*frame.queries, query]):
            self.not_understood.setdefault(frame.path, f"its heads come in several calls, of {call.heads} each")
        if query is not None:
            frame.queries.append(query)
        if named is not None and named > call.heads and named % call.heads == 0:
            self.not_understood.setdefault(frame.path, f"a call shows {call.heads} of the {named} heads that it names")

    def in_part(self) -> dict[str, str]:
        """Return modules of which only part of the attention was captured, as module path to reason; the reason gives
        the share of rows.
        """
        found: dict[str, str] = {}
        for path in sorted({path.split("#")[0] for path in self.described}):
            measured, expected = self.stack.shares.get(path, [0, 0])
            share = f"{measured} of {expected} rows" if expected else "some of its calls"
            reasons = [why for name, why in self.not_understood.items() if name.split("#")[0] == path]
            if reasons:
                found[path] = f"captured in part, {share}: {reasons[0]}"
            elif measured < expected:
                found[path] = f"captured in part, {share}: the attention of the others was not seen"
        return found

    def not_captured(self) -> dict[str, str]:
        """Return modules whose attention was not captured, or not all of it, as module path to reason."""
        blind = "".join(f" ({note})" for subject, note in self.notes.items() if subject in (TRANSFORMED, TRACED))
        missing = {
            path: f"{name} ran and no attention call of it was seen{blind}"
            for path, name in self.stack.never_captured().items()
        }
        captured = {path.split("#")[0] for path in self.described}
        features = {path: why for path, why in self.over_features.items() if path not in captured}
        return {**missing, **features, **self.not_understood, **self.in_part()}


def _is_vmapped() -> bool:
    stack = torch._C._functorch.get_interpreter_stack() or []
    return any(level.key() == torch._C._functorch.TransformType.Vmap for level in stack)


CallContext = Callable[[AttentionCall], AttentionCall]


def _nothing(call: AttentionCall) -> AttentionCall:
    return call


_context: ContextVar[CallContext] = ContextVar("call_context", default=_nothing)


def call_context() -> CallContext:
    """Return the facts known about the running attention beyond its arguments."""
    return _context.get()


@contextmanager
def telling(known: CallContext) -> Iterator[None]:
    """Return a context in which inner interceptors receive the facts ``known``."""
    token = _context.set(known)
    try:
        yield
    finally:
        _context.reset(token)
