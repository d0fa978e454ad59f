"""Suggest remedies for breaches: a sentence, and Python code if batch or loaded model can be changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from heedful.contract.promises import CROSS, PromiseReader
from heedful.contract.record import Fix, Judgement
from heedful.errors import UsageError

STANDARD = ("sdpa", "eager", "flex_attention", "flash_attention_2", "flash_attention_3", "flash_attention_4")


def fix_of(one: Judgement, reader: PromiseReader, implementation: str) -> Fix:
    """Return the remedy for one broken promise.

    Args:
        one: The judgement.
        reader: What was promised, of which model and batch.
        implementation: Attention implementation that the model's config names.
    """
    own = bool(implementation) and implementation not in STANDARD
    rule = _OF.get(one.promise)
    if rule is not None and (found := rule(one, reader, own)) is not None:
        return found
    if one.kernel != "BROKEN":
        return _outside(one, reader)
    return _kernel(one, reader, implementation) if own else Fix(_SOURCE.get(one.promise, "mend the model's source"))


_SOURCE = {
    "direction": "hand the kernel a mask that hides later keys, or is_causal=True (tril, not transposed, -inf hides)",
    "window": "a window counts the query itself: query i sees i - w < j <= i, in layers that layer_types names",
    "scale": "scale products by what the config promises, once",
    "grouping": "query head h reads key head h // (heads / key heads): repeat_interleave, not repeat or tile",
    "sink": "let the sink's logit into the softmax's sum",
    "padding": "hand the kernel the mask of padding",
}


def _kernel(one: Judgement, reader: PromiseReader, implementation: str) -> Fix:
    """An attention function of one's own: the sentence says what is wrong in it, the code takes it out."""
    modules = list(reader.modules.values())
    plain = any(hasattr(module, "sinks") or getattr(module, "attn_logit_softcapping", None) for module in modules)
    usual = "eager" if plain else "sdpa"
    what = _SOURCE.get(one.promise, "give the weights that the handed arguments promise")
    more = ", and register a mask function under its name (AttentionMaskInterface)" if one.promise in _MASKED else ""
    text = f"in the attention function {implementation!r}: {what}{more}; or use transformers' own"
    return Fix(text, f"model.set_attn_implementation({usual!r})")


_MASKED = ("direction", "window", "padding", "documents")


def _outside(one: Judgement, reader: PromiseReader) -> Fix:
    """What attention did not do: hooks on the way, convolutions, states."""
    inside = [(path, m) for path, m in reader.modules.items() if path.startswith(one.path) and m._forward_hooks]
    if inside and one.promise in ("rows", "direction"):
        path = inside[0][0]
        return Fix(
            f"a forward hook on {path} changes its output: remove it, or keep positions and rows separate in it",
            f"model.get_submodule({path!r})._forward_hooks.clear()",
        )
    if one.promise == "rows":
        return Fix("something keeps state across rows of a batch: buffers, flips, means over the batch; take it out")
    if one.promise == "documents":
        return Fix(
            "convolutions and states run on across documents whatever the mask: give each document a row of its own",
            "from heedful.contract.remedies import split_rows\nsplit_rows(batch, documents)",
        )
    where = f"in {one.path}" if one.path else "outside attention"
    return Fix(
        f"{where}: something other than attention mixes positions: pad convolutions on the left, norm over features"
    )


def _documents(one: Judgement, reader: PromiseReader, own: bool) -> Fix | None:
    if one.kernel != "BROKEN":
        return None
    batch, source = reader.batch, reader.facts.labels_source
    restart = "position_ids" in source
    masked = batch.get("attention_mask") is not None
    cached = batch.get("use_cache") is not False
    if restart and (masked or cached) and _masks_read_positions(reader):
        why = "a mask" if masked else "a cache (the default)"
        return Fix(
            f"{why} keeps transformers from reading documents out of position_ids: pass those alone, use_cache=False",
            "batch.pop('attention_mask', None)\nbatch['use_cache'] = False",
        )
    if not restart and _masks_read_positions(reader):
        given = "documents" if source == "contract" else "None"
        return Fix(
            "pass position_ids that begin again at each document, no mask, and use_cache=False",
            f"from heedful.contract.remedies import separate\nseparate(batch, {given})",
        )
    return Fix(
        f"masks of {reader.root_type or 'this model'} ignore position_ids: pass one of 4 axes for each kind of layer",
        "from heedful.contract.remedies import mask_documents\nmask_documents(model, batch, documents)",
    )


def _masks_read_positions(reader: PromiseReader) -> bool:
    """Whether the model's own masks read documents out of positions."""
    from heedful.contract import families

    return families.is_decoder_type(reader.root_type) and reader.root_type not in _IGNORES


_IGNORES = frozenset(["gpt_oss", "afmoe", "mpt", "opt", "xglm", "biogpt", "bloom", "bert", "modernbert"])


def _window(one: Judgement, reader: PromiseReader, own: bool) -> Fix | None:
    mask = reader.batch.get("attention_mask")
    if isinstance(mask, Tensor) and mask.dim() == 4 and not own:
        return Fix(
            "a mask of 4 axes takes the window's place: pass a mask of 2 axes, or one of 4 for each kind of layer",
            "batch.pop('attention_mask')",
        )
    return None


def _direction(one: Judgement, reader: PromiseReader, own: bool) -> Fix | None:
    mask = reader.batch.get("attention_mask")
    if isinstance(mask, Tensor) and mask.dim() == 4 and mask.dtype == torch.bool and not own:
        return Fix(
            "eager attention adds its mask to the logits, True as 1 and False as 0: pass 0 and -inf, or use sdpa",
            "batch['attention_mask'] = torch.zeros(batch['attention_mask'].shape).masked_fill("
            "~batch['attention_mask'], torch.finfo(torch.float32).min)",
        )
    module = reader.modules.get(one.path)
    if one.value == "both" and getattr(module, "is_causal", False) is True and not own:
        return Fix(
            "the module calls itself causal, which kernels without a mask obey: is_causal = False",
            f"model.get_submodule({one.path!r}).is_causal = False",
        )
    return None


def _positions(one: Judgement, reader: PromiseReader, own: bool) -> Fix | None:
    return Fix(
        "padding on the left moves learned positions: count positions over real tokens",
        "batch['position_ids'] = (batch['attention_mask'].cumsum(-1) - 1).clamp_min(0)",
    )


def _scale(one: Judgement, reader: PromiseReader, own: bool) -> Fix | None:
    module = reader.modules.get(one.path)
    given = getattr(module, "scaling", None)
    if own or not isinstance(given, float) or abs(given - float(one.value)) <= 1e-5 * abs(given):
        return None
    return Fix(
        f"{one.path}.scaling is {given:.6g}, {one.source} promises {one.value}",
        f"model.get_submodule({one.path!r}).scaling = {_exact(one, reader)!r}",
    )


def _exact(one: Judgement, reader: PromiseReader) -> float:
    """The promised scale in full: judgements show six digits."""
    config: Any = getattr(reader.modules[one.path], "config", reader.root)
    before = getattr(config, "query_pre_attn_scalar", None)
    if isinstance(before, int | float) and "query_pre_attn_scalar" in one.source:
        return float(before) ** -0.5
    return float(one.value)


def _softcap(one: Judgement, reader: PromiseReader, own: bool) -> Fix | None:
    module = reader.modules.get(one.path)
    if own or not hasattr(module, "attn_logit_softcapping"):
        return None
    return Fix(
        "the module was told not to cap its logits (sdpa refuses a cap, eager applies it)",
        f"model.get_submodule({one.path!r}).attn_logit_softcapping = {float(one.value)!r}",
    )


def _rotary(one: Judgement, reader: PromiseReader, own: bool) -> Fix | None:
    module = reader.modules.get(one.path)
    if one.value == "not rotated" and hasattr(module, "use_rope"):
        return Fix(f"{one.source}: no rotation there", f"model.get_submodule({one.path!r}).use_rope = 0")
    table = next((path for path in reader.modules if path.endswith("rotary_emb")), None)
    if "rotates pairs" in one.found or "is not rotated" in one.found:
        return Fix(
            f"{one.found}: rotate queries and keys by the convention of {reader.root_type}, in its modeling source"
        )
    code = ""
    if table is not None:
        code = (
            f"table = model.get_submodule({table!r})\ntable.__dict__.pop('forward', None)\ntable.__init__(table.config)"
        )
    if "in full" in one.found and hasattr(module, "rotary_ndims"):
        width = one.value.split(" of ")[0].split(" ")[-1]
        code = f"model.get_submodule({one.path!r}).rotary_ndims = {width}\n{code}"
    return Fix("make the rotary table again from the config, in float32 (load with dtype=, don't cast the model)", code)


def _qk_norm(one: Judgement, reader: PromiseReader, own: bool) -> Fix | None:
    side = "q" if one.found.startswith("query") else "k"
    children = dict(reader.modules[one.path].named_children())
    name = next((n for n in children if n.startswith(side) and "norm" in n), None)
    name = name or next((n for n in children if "norm" in n), "")
    return Fix(
        f"{one.path}.{name} is not called, or its forward was replaced: call it on the {one.found.split(' ')[0]}",
        f"model.get_submodule({one.path + '.' + name!r}).__dict__.pop('forward', None)",
    )


def _finite(one: Judgement, reader: PromiseReader, own: bool) -> Fix | None:
    if own:
        return Fix(
            "a row is hidden as a whole: a mask added twice reaches -inf; add it once",
            "model.set_attn_implementation('eager')",
        )
    return Fix("a row is hidden as a whole: let padded rows see themselves, or add the mask once")


def _blocks(one: Judgement, reader: PromiseReader, own: bool) -> Fix | None:
    text = "hand the model a mask that shows the prefix to itself (token_type_ids, or a mask of 4 axes)"
    if reader.contract.prefix is None:
        return Fix(text)
    return Fix(text, f"from heedful.contract.remedies import mask_prefix\nmask_prefix(batch, {reader.contract.prefix})")


def _bias(one: Judgement, reader: PromiseReader, own: bool) -> Fix | None:
    return None if own else Fix("take the bias out, or promise it")


_OF: dict[str, Callable[[Judgement, PromiseReader, bool], Fix | None]] = {
    "documents": _documents,
    "window": _window,
    "direction": _direction,
    "positions": _positions,
    "scale": _scale,
    "softcap": _softcap,
    "rotary": _rotary,
    "qk_norm": _qk_norm,
    "finite": _finite,
    "blocks": _blocks,
    "bias": _bias,
}


def separate(batch: dict[str, Any], documents: Any = None) -> None:
    """Change a batch in place so that transformers isolates documents: restart positions at each document, remove the
    attention mask, and disable the cache.

    Args:
        batch: Keyword arguments of the forward; changed in place.
        documents: ``(batch, position)`` labels; None reads them from ``cu_seq_lens_q`` or a mask that numbers them.

    Raises:
        UsageError: The batch names no documents.
    """
    labels = _labels(batch, documents)
    begins = torch.nn.functional.pad(labels[:, 1:] != labels[:, :-1], (1, 0), value=True)
    place = torch.arange(labels.shape[1], device=labels.device).expand_as(labels)
    start = torch.where(begins, place, 0).cummax(1).values
    batch["position_ids"] = place - start
    batch.pop("attention_mask", None)
    batch["use_cache"] = False


def split_rows(batch: dict[str, Any], documents: Any = None) -> None:
    """Change a batch in place so that each document has its own row, right-padded and masked.

    Args:
        batch: Keyword arguments of the forward; changed in place, keys of packed rows are taken out.
        documents: ``(batch, position)`` labels; None reads them from the batch.

    Raises:
        UsageError: The batch names no documents, or holds no ``input_ids``.
    """
    labels, ids = _labels(batch, documents), batch.get("input_ids")
    if not isinstance(ids, Tensor):
        raise UsageError("batch: expected input_ids, whose rows can be split")
    pieces = [row[own == one] for row, own in zip(ids, labels, strict=True) for one in own.unique() if one >= 0]
    most = max(len(piece) for piece in pieces)
    batch["input_ids"] = torch.stack([torch.nn.functional.pad(piece, (0, most - len(piece))) for piece in pieces])
    lengths = torch.tensor([len(piece) for piece in pieces], device=ids.device)
    batch["attention_mask"] = (torch.arange(most, device=ids.device)[None] < lengths[:, None]).long()
    for name in (
        "position_ids",
        "labels",
        "seq_idx",
        *(name for name in batch if "seq_len" in name or "seqlen" in name),
    ):
        batch.pop(name, None)


def mask_prefix(batch: dict[str, Any], prefix: int) -> None:
    """Add a 4-D causal mask to a batch in which the first ``prefix`` positions see each other.

    Args:
        batch: Keyword arguments of the forward, with ``input_ids``; changed in place.
        prefix: Number of leading positions.
    """
    rows, length = batch["input_ids"].shape
    shown = torch.ones(length, length, dtype=torch.bool).tril()
    shown[:prefix, :prefix] = True
    mask = torch.zeros(length, length).masked_fill(~shown, torch.finfo(torch.float32).min)
    batch["attention_mask"] = mask.expand(rows, 1, -1, -1).to(batch["input_ids"].device)


def mask_documents(model: nn.Module, batch: dict[str, Any], documents: Any = None) -> None:
    """Add 4-D masks to a batch that isolate its documents, one for each layer type in the config.

    Args:
        model: The model, whose config says which way it looks and how far.
        batch: Keyword arguments of the forward; changed in place.
        documents: ``(batch, position)`` labels; None reads them from the batch.

    Raises:
        UsageError: The batch names no documents.
    """
    from heedful.contract.record import Contract

    labels = _labels(batch, documents)
    reader = PromiseReader(model, batch, Contract(documents=labels))
    path = next(
        p for p in reader.modules if p.endswith((".self_attn", ".attn", ".attention", ".self")) and not CROSS.search(p)
    )
    direction, _ = reader.direction(reader.place(path, reader.modules[path]))
    config: Any = reader.root
    place = torch.arange(labels.shape[1], device=labels.device)
    distance = place[:, None] - place[None]
    shown = labels[:, :, None] == labels[:, None]
    if direction is None or direction.value == "causal":
        shown = shown & (distance >= 0)
    least = torch.finfo(torch.float32).min

    def additive(seen: Tensor) -> Tensor:
        return torch.zeros(seen.shape, device=seen.device).masked_fill(~seen, least)[:, None]

    kinds = set(getattr(config, "layer_types", None) or [])
    masks = {}
    for kind in sorted(kinds):
        width = getattr(config, "sliding_window", None) if kind == "sliding_attention" else None
        masks[kind] = additive(shown & (distance < width) & (distance > -width) if width else shown)
    batch["attention_mask"] = masks if len(kinds) > 1 else additive(shown)
    batch["use_cache"] = False


def _labels(batch: dict[str, Any], documents: Any) -> Tensor:
    from heedful.contract.batch_facts import facts_of
    from heedful.contract.record import Contract

    found = facts_of(batch, Contract(documents=documents)).labels
    if found is None:
        raise UsageError("documents: the batch names none; give their labels")
    return found
