"""Build a model from a plan and checkpoint tensors; all keys must match.

Copy checkpoint weights into an existing module; all keys must match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from heedful.errors import HeedfulError, InputRejected, ResourceLimit
from heedful.loading.model_config import ModelPlan
from heedful.loading.quiet import quiet_transformers
from heedful.loading.skeleton import Skeleton, is_too_large, tied_names
from heedful.loading.weights import is_derived
from heedful.loading.wording import escaped, listed, reason

if TYPE_CHECKING:
    from transformers import PreTrainedModel


_ROOTS = ("model.", "net.")
_HEAD = re.compile(
    r"(?:[a-z]\w*\.){0,2}"
    r"(?:cls|\w*_head|heads?|head|lm_loss|\w*classifier|score|\w*pooler|predictions|pre_classifier"
    r"|(?:generator|discriminator)_predictions|vocab_(?:transform|layer_norm|projector)"
    r"|sequence_summary|summary|qa_outputs|start_logits|end_logits|seq_relationship|value_head|multiple_choice_head)\."
)
"""Heads and poolers of other tasks, above all attention: a checkpoint may bring more of them than the model has.

At most two names of the model stand before them and none is the number of a layer.
"""
_POOLER = re.compile(r"(?!.*att)(?:[a-z]\w*\.){0,2}\w*pooler\.")
"""A pooler without attention of its own reads the last hidden states and changes neither attention nor the loss."""


def is_other_head(key: str) -> bool:
    """Return whether a left-over checkpoint key belongs to another task's head or pooler, unused by attention.

    Args:
        key: A state dict key that the model does not have.

    Returns:
        True for ``bert.pooler.dense.weight`` or ``cls.predictions.bias``; False for anything inside a numbered layer.
    """
    return _HEAD.match(key) is not None


def assemble(
    plan: ModelPlan,
    tensors: dict[str, Tensor],
    skeleton: Skeleton,
    dtype: torch.dtype,
    subject: str,
    division: Mapping[str, Any] | None = None,
) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """Build the model on the CPU and load its weights; every parameter except a pooler's must be in the checkpoint.

    Args:
        plan: What to build.
        tensors: The state dict; transformers renames keys of other versions itself.
        skeleton: What the plan leads to.
        dtype: The dtype of its parameters.
        subject: The checkpoint's name in messages.
        division: What tells transformers to divide it over processes (``tensor_division``); None keeps it whole.

    Returns:
        The model in eval mode, and notes.

    Raises:
        InputRejected: Keys are missing, left over or of another shape.
        ResourceLimit: Memory ran out although the estimate fitted.
    """
    tensors, notes = without_foreign_root(tensors, skeleton.shapes.keys())
    try:
        with quiet_transformers():
            build: Any = plan.model_class.from_pretrained
            model, outcome = build(
                None,
                config=plan.config,
                state_dict=tensors,
                dtype=dtype,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **(division or {}),
            )
    except HeedfulError:
        raise
    except Exception as error:
        if is_too_large(error):
            raise ResourceLimit(f"{subject}: memory ran out while it was loaded") from error
        message = _disagreement(tensors, skeleton) or reason(error)
        raise _misfit(len(tensors), plan, subject, message) from error
    notes += _compare(outcome, len(tensors), plan, subject)
    notes += _tied_apart(model, tensors, skeleton, subject)
    empty = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]
    if empty:
        raise InputRejected(subject, f"unsupported: parameters without data ({listed(empty)})", "use another model")
    return model.eval(), tuple(notes)


def _tied_apart(model: torch.nn.Module, tensors: Mapping[str, Tensor], skeleton: Skeleton, subject: str) -> list[str]:
    """A note where the file holds two tensors for what the config ties and both were kept; a refusal where one was not.

    Keys of another version's names, which transformers renames, are not looked at.
    """
    own = dict(model.named_parameters(remove_duplicate=False))
    notes = []
    for group in skeleton.groups:
        given = sorted(name for name in group & tensors.keys() if name in own)
        apart = [name for name in given[1:] if not torch.equal(tensors[name], tensors[given[0]])]
        if not apart:
            continue
        message = f"the config ties {listed([given[0], *apart])}, the file holds different tensors for them"
        if any(own[name] is own[given[0]] for name in apart):
            raise InputRejected(
                subject, message, "set tie_word_embeddings to false in the config, or give its own weights"
            )
        notes.append(f"{message}: both were kept")
    return notes


def without_foreign_root(tensors: dict[str, Tensor], expected: Set[str]) -> tuple[dict[str, Tensor], list[str]]:
    """Remove a training wrapper's prefix (``model.`` or ``net.``) from all keys if more keys then match the model's;
    return the tensors and notes.
    """
    for root in _ROOTS:
        if all(key.startswith(root) for key in tensors):
            shorter = {key.removeprefix(root): tensor for key, tensor in tensors.items()}
            if len(shorter.keys() & expected) > len(tensors.keys() & expected):
                return shorter, [f"prefix {root!r} stripped from {len(shorter)} keys"]
    return tensors, []


def _compare(outcome: Mapping[str, Any], given: int, plan: ModelPlan, subject: str) -> list[str]:
    """Notes on what was left over harmlessly; the refusal of all else."""
    extra = sorted(outcome["unexpected_keys"])
    harmless = [key for key in extra if is_derived(key)]
    heads = [key for key in extra if is_other_head(key) and key not in harmless]
    foreign = [key for key in extra if key not in harmless and key not in heads]
    shapes = [mismatch(entry) for entry in outcome["mismatched_keys"]]
    poolers = sorted(key for key in outcome["missing_keys"] if _POOLER.match(key))
    missing = sorted(set(outcome["missing_keys"]) - set(poolers))
    if message := counted(missing, foreign, shapes):
        raise _misfit(given, plan, subject, message)
    if outcome.get("error_msgs"):
        raise InputRejected(subject, f"weights not taken: {escaped(outcome['error_msgs'][0])}")
    notes = [f"{len(harmless)} buffers of the checkpoint are rebuilt"] if harmless else []
    notes += [f"heads of other tasks left out: {listed(heads, 3)}"] if heads else []
    return notes + ([f"not in the checkpoint, left untrained: {listed(poolers, 3)}"] if poolers else [])


def _disagreement(tensors: Mapping[str, Tensor], skeleton: Skeleton) -> str:
    """What keys and shapes say by themselves, for where transformers gives up before it compares them."""
    missing = [min(group) for group in skeleton.groups if not group & tensors.keys()]
    extra = [key for key in tensors if key not in skeleton.shapes and not is_derived(key)]
    both = [(key, tensors[key].shape, shape) for key, shape in skeleton.shapes.items() if key in tensors]
    return counted(missing, extra, [mismatch(entry) for entry in both if tuple(entry[1]) != entry[2]])


def mismatch(entry: Any) -> str:
    """Describe a key with its actual and its expected shape."""
    name, found, expected = entry
    return f"{name} {tuple(found)} for {tuple(expected)}"


def counted(missing: Iterable[str], extra: Iterable[str], shapes: Iterable[str]) -> str:
    """Describe missing, extra and misshaped keys, counted by kind; empty if all fit."""
    kinds = {"missing": list(missing), "left over": list(extra), "of another shape": list(shapes)}
    return "; ".join(f"{len(names)} {word} ({listed(names)})" for word, names in kinds.items() if names)


def _misfit(given: int, plan: ModelPlan, subject: str, message: str) -> InputRejected:
    what = f"{given} keys do not make a {plan.model_class.__name__}: {message}"
    return InputRejected(subject, what, "give the config they were trained with")


def fill(model: nn.Module, tensors: dict[str, Tensor], subject: str) -> tuple[str, ...]:
    """Copy weights into a model; tied entries may appear once, and rebuilt buffers may be missing.

    Args:
        model: Any module.
        tensors: A state dict, without wrappers' prefixes.
        subject: The checkpoint's name in messages.

    Returns:
        Notes on what was stripped or left out.

    Raises:
        InputRejected: Keys are missing, left over or of another shape.
    """
    own = model.state_dict()
    tensors, notes = without_foreign_root(tensors, own.keys())
    buffers = own.keys() - dict(model.named_parameters(remove_duplicate=False)).keys()
    absent = [min(names) for names in tied_names(model) if not names & tensors.keys()]
    missing = [key for key in absent if not (key in buffers and is_derived(key))]
    extra = [key for key in tensors if key not in own]
    heads = [key for key in extra if is_other_head(key) and not is_derived(key)]
    foreign = [key for key in extra if not is_derived(key) and key not in heads]
    both = [(key, tensors[key].shape, own[key].shape) for key in own if key in tensors]
    shapes = [mismatch(entry) for entry in both if entry[1] != entry[2]]
    if message := counted(missing, foreign, shapes):
        what = f"{len(tensors)} keys do not make a {type(model).__name__}: {message}"
        raise InputRejected(subject, what, "give the checkpoint of this very model")
    try:
        model.load_state_dict({key: tensors[key] for key in own if key in tensors}, strict=False)
    except RuntimeError as error:
        raise InputRejected(subject, f"weights not taken: {reason(error)}") from error
    buffers_left = len(extra) - len(heads)
    left = [f"{buffers_left} buffers of the checkpoint are rebuilt"] if buffers_left else []
    left += [f"heads of other tasks left out: {listed(heads, 3)}"] if heads else []
    return (*notes, *left)
