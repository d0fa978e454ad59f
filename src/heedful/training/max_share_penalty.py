"""Training penalty on keys whose squared norm is concentrated in few components.

A Trainer for models some of whose parameters must not decay, and whose gains may.

A differentiable measure of how far a vector's largest component exceeds the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from heedful.errors import UsageError
from heedful.interception.unrotated import PAIRS


class TableTrainer(Trainer):
    """Trainer without weight decay for parameters whose names contain an entry of the model's ``undecayed``.

    Attributes:
        gain_weight_decay: Weight decay of the gains of the model's RMS norms; 0, as the Trainer has it, leaves them.
    """

    gain_weight_decay: float = 0.0

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """Return the names of parameters with weight decay."""
        kept = getattr(model, "undecayed", ())
        return [name for name in super().get_decay_parameter_names(model) if not any(part in name for part in kept)]

    def create_optimizer(self, *given: Any, **named: Any) -> Any:
        """Create the Trainer's optimizer; if gains are to decay, give them a parameter group of their own."""
        known = self.optimizer is not None
        optimizer: Any = super().create_optimizer(*given, **named)
        if not known and self.gain_weight_decay:
            model: Any = self.model
            gains = [module.weight for module in model.modules() if isinstance(module, nn.RMSNorm)]
            for group in optimizer.param_groups:
                group["params"] = [one for one in group["params"] if not any(one is gain for gain in gains)]
            options = {name: value for name, value in optimizer.param_groups[0].items() if name != "params"}
            optimizer.add_param_group({**options, "params": gains, "weight_decay": self.gain_weight_decay})
        return optimizer


JOINED = ("qkv_proj", "c_attn")
"""Joint projections whose output is queries, keys, values, one after the other; the other's order differs by model."""


class MaxSharePenalty:
    """Context manager that records keys before rotary positions; ``take`` returns how far few components dominate them.

    >>> with MaxSharePenalty(model) as penalty:  # doctest: +SKIP
    ...     for batch in batches:
    ...         loss = model(**batch).loss + 0.1 * penalty.take()
    ...         loss.backward()

    Keys are what the norm of keys gives, gain included, or what their projection gives where there is no such norm.
    Only forwards with gradients count. The gradient reaches keys and what they are made of: no query, value or output
    projection of the same layer.

    Args:
        model: Any model whose attention modules have submodules named as those of transformers.

    Raises:
        UsageError: No submodule gives keys, or it cannot be told which part of its output they are.
    """

    def __init__(self, model: nn.Module) -> None:
        self._sources = key_sources(model)
        self._captured: list[Tensor] = []
        self._handles: list[Any] = []

    def __enter__(self) -> MaxSharePenalty:
        """Begin to keep keys."""
        self._handles = [module.register_forward_hook(self._keep(cut)) for module, cut in self._sources]
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._captured.clear()

    def take(self, counted: Tensor | None = None) -> Tensor:
        """Return the peak share of the recorded keys, averaged over keys and layers, and clear them.

        Args:
            counted: ``(batch, position)``, 0 or False at padding, which is left out; None where all count.

        Returns:
            A scalar with a gradient, at least 1.

        Raises:
            UsageError: No forward with gradients was met since the last time.
        """
        captured, self._captured = self._captured, []
        if not captured:
            raise UsageError(
                "penalty: no keys were captured (run a forward with gradients inside `with MaxSharePenalty`)"
            )
        return torch.stack([_mean(smooth_peak_share(keys), counted) for keys in captured]).mean()

    def _keep(self, cut: Callable[[Tensor], Tensor]) -> Callable[..., None]:
        def keep(module: nn.Module, args: Any, output: Any) -> None:
            # What checkpointed layers compute again in the backward was met before.
            if output.requires_grad and torch.is_grad_enabled() and torch._C._current_graph_task_id() == -1:
                self._captured.append(cut(output))

        return keep


class PenalisedTrainer(TableTrainer):
    """Trainer that adds the penalty to the training loss, but not to evaluation losses.

    Args:
        weight: What the penalty is multiplied by, above 0.
        **given: Of the Trainer.
    """

    def __init__(self, weight: float, **given: Any) -> None:
        super().__init__(**given)
        self.weight = weight
        model: Any = self.model
        self.penalty = MaxSharePenalty(model)

    def train(self, *given: Any, **named: Any) -> Any:
        """Train as ``Trainer.train`` does, while keys are recorded."""
        with self.penalty:
            return super().train(*given, **named)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the Trainer's loss, plus the penalty of the same forward during training."""
        mask = inputs.get("attention_mask")
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)  # type: ignore[misc]
        if model.training and torch.is_grad_enabled():
            # A loss that is a sum over all parts of a step is not divided by their number later: the penalty is, here.
            whole = self.model_accepts_loss_kwargs and num_items_in_batch is not None
            parts = self.current_gradient_accumulation_steps if whole else 1
            loss = loss + self.weight * self.penalty.take(mask).to(loss.dtype) / parts
        return (loss, outputs) if return_outputs else loss


def _mean(crests: Tensor, counted: Tensor | None) -> Tensor:
    """Mean over vectors, ``(batch, head, position)`` or ``(batch, position, head)``."""
    if counted is None:
        return crests.mean()
    held = counted.bool()
    weight = held[:, None, :] if crests.shape[2] == held.shape[1] else held[:, :, None]
    weight = weight.expand_as(crests)
    return (crests * weight).sum() / weight.sum().clamp_min(1)


def key_sources(model: nn.Module) -> list[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
    """Return the submodules that output unrotated keys, each with a function that extracts the keys.

    Args:
        model: The model.

    Raises:
        UsageError: There is none, or it cannot be told which part of its output they are.
    """
    found = []
    for path, module in model.named_modules():
        children = dict(module.named_children())
        single = next((key for query, key in PAIRS if query in children and key in children), None)
        joint = next((name for name in JOINED if name in children), None)
        if single or joint:
            dim = _head_dim(module, path)
            cut = _whole(dim) if single else _part(dim, _heads(module, path))
            found.append((children[single or joint or ""], cut))
    if not found:
        names = ", ".join([key for _, key in PAIRS] + list(JOINED))
        raise UsageError(f"penalty: no attention module with a submodule that gives keys was found ({names})")
    return found


def _whole(dim: int) -> Callable[[Tensor], Tensor]:
    """Keys alone, ``(batch, head, position, dim)``, either order, or ``(batch, position, head * dim)``."""
    return lambda output: output if output.shape[-1] == dim else output.unflatten(-1, (-1, dim))


def _part(dim: int, heads: int) -> Callable[[Tensor], Tensor]:
    """Keys out of queries, keys and values, of which the last two are as many."""

    def cut(output: Tensor) -> Tensor:
        vectors = output.unflatten(-1, (-1, dim))
        return vectors[..., heads : (vectors.shape[-2] + heads) // 2, :]

    return cut


def _head_dim(module: nn.Module, path: str) -> int:
    for name in ("head_dim", "attention_head_size"):
        if isinstance(getattr(module, name, None), int):
            return int(getattr(module, name))
    raise UsageError(f"penalty: {path} does not say the dimension of its heads (head_dim or attention_head_size)")


def _heads(module: nn.Module, path: str) -> int:
    for place in (module, getattr(module, "config", None)):
        for name in ("num_heads", "num_attention_heads"):
            if isinstance(getattr(place, name, None), int):
                return int(getattr(place, name))
    raise UsageError(f"penalty: {path} does not say how many heads it has (num_heads)")


ORDER = 8
"""Order of the norm that stands for the maximum."""

_SMALLEST = 1e-12
"""Added to the mean square: vectors of norm 0 have a crest of 0 and a gradient of 0."""


def smooth_peak_share(vectors: Tensor, order: int = ORDER) -> Tensor:
    r"""Return the ratio of a high-order norm to the root mean square, for each vector.

    .. math:: c_p(x) = \frac{(\operatorname{mean}_c |x_c|^p)^{1/p}}{(\operatorname{mean}_c x_c^2)^{1/2}}

    Reading: 1 where all components are of one size, :math:`d^{1/2 - 1/p}` where one component is all there is; it does
    not change with the vector's length. A direction without structure has about 1.79 (order 8, Gaussian:
    :math:`105^{1/8}`).
    Pitfall: it is no crest factor, which takes the maximum itself and lies between 1 and :math:`\sqrt d`.

    Args:
        vectors: ``(..., dim)``.
        order: An even order above 2.

    Returns:
        ``(...)`` in float32 or better.

    Raises:
        ValueError: The order is odd, or not above 2.
    """
    if order % 2 or order <= 2:
        raise ValueError(f"order: expected an even number above 2, got {order}")
    wide = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    unit = wide * (wide.square().mean(-1, keepdim=True) + _SMALLEST).rsqrt()
    return (unit**order).mean(-1).add(torch.finfo(unit.dtype).tiny).pow(1 / order)
