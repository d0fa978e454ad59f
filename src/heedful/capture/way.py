"""What every way in shares: whose call it is, what is made of it, and what could not be understood."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from dataclasses import replace as changed

from torch import Tensor, nn

from heedful.capture.event import Answer, AttentionEvent
from heedful.capture.part import part_of
from heedful.capture.stack import ModuleStack
from heedful.core.call import AttentionCall
from heedful.core.errors import HeedfulError


@dataclass
class Way:
    """One interception of one model.

    Attributes:
        stack: The model's running modules.
        answer: What is done with each event.
        not_understood: Path to reason of calls that were met and could not be described.
        notes: Subject to what being watched changes about it.
        closed: Whether the interception is over.
    """

    stack: ModuleStack
    answer: Answer
    not_understood: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    closed: bool = False
    _busy: int = 0

    def concerns(self, module: nn.Module | None) -> bool:
        """Whether a call of this module (None: of whatever runs) is this interception's to answer."""
        if self.closed or self.stack.elsewhere() or self._busy:
            return False
        return id(module) in self.stack.paths if module is not None else bool(self.stack._frames)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """While the model's own kernel runs, what it calls in turn is not met again."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    def meet(
        self,
        module: nn.Module | None,
        way: str,
        describe: Callable[[], AttentionCall],
        run: Callable[[Tensor | None], Tensor],
        dropout: float,
    ) -> Tensor | None:
        """Describe one call and ask for an answer.

        Returns:
            The tensor to use in place of the kernel's output, or None to let the kernel run.
        """
        path, owner, entering = self.stack.owner(module, way)
        try:
            call = self._with_padding(describe())
            part = None if owner is None else part_of(owner, call)
        except HeedfulError as error:
            self.not_understood.setdefault(path, str(error))
            return None
        if owner is None:
            self.not_understood.setdefault(path, "the call belongs to no module of the model")
            return None
        event = AttentionEvent(
            path=path, module=owner, way=way, call=call, dropout=dropout, entering=entering, run=run, part=part
        )
        with self.inside():
            return self.answer(event)

    def _with_padding(self, call: AttentionCall) -> AttentionCall:
        """Hide padded keys and empty padded rows, as the model's 2-D attention mask names them."""
        real = self.stack.padding
        if real is None or real.shape[0] != call.batch or real.shape[1] != call.n_keys or call.n_queries > call.n_keys:
            return call
        real = real.to(call.query.device)
        queries = real[:, call.n_keys - call.n_queries :]
        visibility = call.visibility
        keys = real if visibility.keys is None else real & visibility.keys
        queries = queries if visibility.queries is None else queries & visibility.queries
        return changed(call, visibility=visibility.with_padding(keys=keys, queries=queries))
