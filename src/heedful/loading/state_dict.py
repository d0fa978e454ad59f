"""Extract the state dict from what a training script saved, with wrapper prefixes removed from its names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from heedful.errors import InputRejected
from heedful.loading.torch_archive import check_dense
from heedful.loading.wording import escaped, listed

NESTS = ("model_state_dict", "state_dict", "model", "module")
"""Keys under which training scripts keep the weights, beside optimizers and counters."""

_LEADING = ("module.", "_orig_mod.")
_ANYWHERE = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_ADAPTER = re.compile(r"\.lora_[AB]\b|\.lora_embedding_|\bprompt_encoder\b|\.ia3_l\b|\bbase_model\.model\.")
_QUANTISED = re.compile(r"\.(?:qweight|qzeros|g_idx|SCB|absmax|weight_scale(?:_inv)?|weight_packed)\b")
_DERIVED = re.compile(r"(?:^|\.)(?:position_ids|attn\.(?:masked_)?bias|attention\.(?:masked_)?bias|inv_freq)$")


def is_derived(key: str) -> bool:
    """Return whether a key is a rebuilt buffer: a causal mask, position ids, rotary frequencies.

    Args:
        key: A state dict key.

    Returns:
        True where its absence from the model means nothing.
    """
    return _DERIVED.search(key) is not None


def extract_state_dict(saved: Any, subject: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors of a loaded checkpoint by name, without wrapper prefixes, and notes on what was unwrapped.

    Args:
        saved: What the checkpoint held.
        subject: The file's name in messages.

    Returns:
        Tensors by name, and notes on what was unwrapped.

    Raises:
        InputRejected: There is no state dict, an entry is no dense tensor, or it is an adapter or quantised.
    """
    notes: list[str] = []
    while isinstance(saved, Mapping):
        nest = next((key for key in NESTS if isinstance(saved.get(key), Mapping)), None)
        if nest is None or len(notes) == len(NESTS):
            break
        notes.append(f"weights found under {nest!r}")
        saved = saved[nest]
    if not isinstance(saved, Mapping) or not saved:
        what = "nothing" if isinstance(saved, Mapping) else f"a {escaped(type(saved).__name__, 40)}"
        raise InputRejected(subject, f"expected a table of tensors, found {what}", "save model.state_dict()")
    if not all(isinstance(key, str) for key in saved):
        raise InputRejected(subject, "a key of its state dict is not text", "save model.state_dict()")
    for key, tensor in saved.items():
        check_dense(key, tensor, subject)
    tensors, renamed = without_wrappers(dict(saved), subject)
    _refuse_partial(tensors, subject)
    return tensors, (*notes, *renamed)


def without_wrappers(tensors: dict[str, Tensor], subject: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Strip prefixes of DataParallel, torch.compile and FSDP from names.

    Args:
        tensors: Tensors by name.
        subject: The file's name in messages.

    Returns:
        Tensors by shorter name, and a note for each prefix that was stripped.

    Raises:
        InputRejected: Two names become one.
    """
    notes: list[str] = []
    while prefix := next((p for p in _LEADING if all(key.startswith(p) for key in tensors)), None):
        tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
        notes.append(f"prefix {prefix!r} stripped from {len(tensors)} keys")
    plain = {_ANYWHERE.sub("", key): tensor for key, tensor in tensors.items()}
    if len(plain) != len(tensors):
        raise InputRejected(subject, "two keys differ by a wrapper's prefix alone", "save one of the models")
    touched = sum(_ANYWHERE.search(key) is not None for key in tensors)
    if touched:
        notes.append(f"wrapper names stripped from {touched} keys")
    return plain, tuple(notes)


def _refuse_partial(tensors: Mapping[str, Tensor], subject: str) -> None:
    adapters = [key for key in tensors if _ADAPTER.search(key)]
    if adapters:
        what = (
            f"a LoRA or other adapter, no whole model: {len(adapters)} keys of {len(tensors)}, as {listed(adapters, 3)}"
        )
        raise InputRejected(subject, what, "merge it into its base model first")
    packed = [key for key in tensors if _QUANTISED.search(key)]
    packed += [
        key
        for key, tensor in tensors.items()
        if key.endswith((".weight", ".bias")) and not is_derived(key) and _is_packed(tensor)
    ]
    if packed:
        what = f"weights that are no 16, 32 or 64 bit floats: {len(packed)} keys ({listed(packed, 3)})"
        raise InputRejected(subject, what, "dequantise the model, then save it")


def _is_packed(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or tensor.element_size() < 2
