"""Copy checkpoint weights into an existing module; all keys must match."""

from __future__ import annotations

from torch import Tensor, nn

from heedful.errors import InputRejected
from heedful.loading.assembly import counted, is_other_head, mismatch, without_foreign_root
from heedful.loading.skeleton import tied_names
from heedful.loading.state_dict import is_derived
from heedful.loading.wording import listed, reason


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
