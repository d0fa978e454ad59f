"""Check one model on one batch: each promise is tested by its kernels and by behaviour; disagreements are reported.

Prove the capture of each attention module: recompute its output, and verify that a replacement reaches the model.

The first proof is of the forward whose kernels are judged. The second is a gradient of that forward in which the stream
is cut; where that shows nothing (saturated weights, no gradient at all), the module's output is taken away.

Convert user input to one batch for the model's forward; every key of a given batch is kept.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from heedful.contract.batch_facts import unmarked_padding
from heedful.contract.behaviour import Behaviour
from heedful.contract.invariances import InvarianceResult
from heedful.contract.kernels import KernelJudge
from heedful.contract.promises import PromiseReader
from heedful.contract.record import Breach, CaptureProof, Contract, ContractReport, Judgement, Status
from heedful.contract.remedies import fix_of
from heedful.contract.running import WRAPPERS, keywords_of, main_tensor, on_device, repeatable
from heedful.errors import CaptureError, HeedfulError, UsageError
from heedful.interception.held_heads import is_sharded
from heedful.interception.intercept import intercept
from heedful.interception.replace import replace as replace_attention
from heedful.interception.uncompiled import original, without_heads

if TYPE_CHECKING:
    from heedful.loading.loaded_model import LoadedModel


ALONE = (
    "weights that a conversion permuted, so that pairs are rotated rightly and hold other components: compare with a "
    "reference model",
    "numbers that are wrong in the config itself (theta, scale, window): compare with a reference model",
)
"""What one model alone cannot decide."""


def check(
    model: nn.Module | LoadedModel,
    batch: Any = None,
    *,
    contract: Contract | None = None,
    documents: Any = None,
    tokenizer: Any = None,
    behaviour: bool = True,
    gradients: bool = True,
    capture: bool = True,
) -> ContractReport:
    """Check which keys each query sees, at what scale and positions, against the promises of config and batch.

    Every promise is proved twice: by what each kernel was handed and the weights that it gives, and by behaviour:
    tokens are changed, and one backward shows which positions reach which. Where the two do not agree, that is a
    finding. What nobody promised is reported and not judged. The model's weights, flags, hooks and random state are as
    before afterwards; it runs in evaluation mode meanwhile.

    >>> report = heedful.check(model, {"input_ids": ids, "position_ids": positions})  # doctest: +SKIP
    >>> print(report)  # doctest: +SKIP

    Pitfall: a batch in which nothing is packed, padded or longer than the window cannot show such faults; those
    promises come out as not exercised.

    Args:
        model: Any module, or what ``heedful.load_model`` gives, whose tokenizer is then used; promises are read from
            transformers' configs, of other models from ``contract`` and batch.
        batch: Keyword arguments of the forward, exactly as your own call passes them; token ids; a data loader, whose
            first batch is taken; text or a list of texts, with a tokenizer; None for a text that ships with heedful.
        contract: Promises that overrule what config and batch say.
        documents: ``(batch, position)`` labels of packed documents; short for ``Contract(documents=...)``.
        tokenizer: Makes tokens of texts.
        behaviour: Whether tokens are changed and gradients taken; without it the kernels alone are asked.
        gradients: Whether gradients are taken; False where a backward pass would begin a reduction over processes.
        capture: Whether it is proved that what stands in a module's place reaches the model: by that gradient, and
            where it shows nothing by one more forward without the module's attention.

    Returns:
        The report; ``report.held`` says whether all is well, ``report.broken`` lists breaches.

    Raises:
        UsageError: The model is no module, a key of the batch is none of the forward's arguments, or batch and
            contract don't fit.
        CaptureError: No attention call of the model was captured.
    """
    begun = time.perf_counter()
    model, tokenizer = _module(model, tokenizer)
    plain_model = _inner(model)
    contract = contract or Contract()
    if documents is not None:
        contract = replace(contract, documents=documents)
    given, notes = first_batch(plain_model, batch, tokenizer)
    keywords = on_device(plain_model, keywords_of(plain_model, given))
    _refuse(plain_model, keywords)
    sharded = any(is_sharded(parameter) for parameter in plain_model.parameters())
    reader = PromiseReader(plain_model, keywords, contract)
    judge = KernelJudge(reader)
    with repeatable(plain_model) as again:
        run = _Runs(plain_model, again)
        output, way = run.captured(keywords, judge)
        if not judge.layers:
            raise _nothing(plain_model, way)
        found = Behaviour(reader, judge, run, keywords)
        if behaviour:
            found.judge(output, gradients=gradients and not sharded)
        asked = output if behaviour and capture else None
        proofs = capture_proofs(run, keywords, judge, way, found.reached, output=asked)
    judgements = _ordered([*_with_behaviour(judge, found), *found.judgements], list(reader.modules))
    implementation = str(getattr(reader.root, "_attn_implementation", "") or "")
    named = [_named(one, keywords, reader.two_sided) for one in judgements]
    fixed = [
        replace(one, remedy=fix_of(one, reader, implementation)) if one.status is Status.BROKEN else one
        for one in named
    ]
    undecided = _by_reason(judge.undecided)
    pad = getattr(tokenizer, "pad_token_id", None)
    pad = getattr(reader.root, "pad_token_id", None) if pad is None else pad
    unmarked = "" if contract.documents is not None else unmarked_padding(keywords, pad, reader.facts.real)
    return ContractReport(
        model=type(plain_model).__name__,
        implementation=implementation,
        batch={name: tuple(value.shape) for name, value in keywords.items() if isinstance(value, Tensor)},
        judgements=fixed,
        proofs=proofs,
        undecided=(*dict.fromkeys(undecided), *found.undecided, *ALONE),
        notes=(
            *notes,
            *reader.facts.notes,
            *((unmarked,) if unmarked else ()),
            *(f"contradiction: {t}" for t in _contradictions(fixed)),
        ),
        forwards=run.forwards,
        seconds=time.perf_counter() - begun,
        tokens=_texts(fixed, tokenizer),
    )


@dataclass
class _Runs:
    """Forwards of one model on a batch, each with the same random numbers."""

    model: nn.Module
    again: Any
    forwards: int = 0

    def __call__(self, keywords: Mapping[str, Any]) -> Any:
        self.again()
        self.forwards += 1
        return self.model(**_fresh(keywords))

    def output(self, keywords: Mapping[str, Any]) -> Tensor:
        """Logits or hidden states."""
        with torch.no_grad():
            return main_tensor(self(keywords))

    def captured(self, keywords: Mapping[str, Any], judge: KernelJudge) -> tuple[Any, Any]:
        """The forward whose kernels are judged."""
        with ExitStack() as stack, torch.no_grad():
            judge.projections.begin(self.model)
            stack.callback(judge.projections.end)
            way = stack.enter_context(intercept(self.model, judge.answer))
            output = self(keywords)
        return output, way


def _fresh(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The batch, its caches copied, since a forward writes into them."""
    return {
        name: copy.deepcopy(value) if "past" in name or "cache" in name else value for name, value in keywords.items()
    }


def _inner(model: nn.Module) -> nn.Module:
    model = original(model)
    while isinstance(model, WRAPPERS):
        model = original(model.module)
    return model


def _refuse(model: nn.Module, keywords: Mapping[str, Any]) -> None:
    """Refuse what is known to crash rather than fail."""
    flex = getattr(getattr(model, "config", None), "_attn_implementation", "") == "flex_attention"
    mask = keywords.get("attention_mask")
    if flex and isinstance(mask, Tensor) and mask.dim() == 4 and mask.device.type == "cpu":
        raise UsageError(
            "batch['attention_mask']: a mask of 4 axes with flex_attention on a CPU ends the process "
            "(set another attn_implementation, or pass positions that restart and no mask)"
        )
    if any(is_sharded(parameter) and parameter.is_meta for parameter in model.parameters()):
        raise UsageError(f"{type(model).__name__}: its parameters are on no device; load its weights first")


def _nothing(model: nn.Module, way: Any) -> HeedfulError:
    reasons = [without_heads(model)] if without_heads(model) else []
    reasons += [f"{path or type(model).__name__}: {why}" for path, why in way.not_captured().items()]
    return CaptureError(
        type(model).__name__,
        "no attention call was captured" + (f": {reasons[0]}" if reasons else ""),
        "attention is captured in transformers' attention table, scaled_dot_product_attention, nn.MultiheadAttention, "
        "and in a softmax over tokens",
    )


def _with_behaviour(judge: KernelJudge, found: Behaviour) -> list[Judgement]:
    """Judgements of kernels, each beside what behaviour says of the same promise in the same block."""
    made = []
    for (path, promise), one in judge.judgements.items():
        shown = found.experiments.get((path, promise))
        made.append(replace(one, behaviour=found.shown(path, promise)) if shown is None else _joined(one, shown))
    return made


SIZED = "sized"
"""A rotation of the right angles and another size is none that moved positions could show."""


def _joined(one: Judgement, shown: InvarianceResult) -> Judgement:
    """A judgement of the kernel beside an experiment; where they differ, the breach is a finding and both are told."""
    said = str(shown.status)
    if one.status is Status.BROKEN:
        return replace(one, behaviour="" if SIZED in one.found and shown.status is Status.HELD else said)
    if shown.status is Status.HELD:
        status = Status.HELD if one.status is Status.NOT_DECIDABLE else one.status
        return replace(one, status=status, behaviour=said, found=one.found if status is one.status else shown.message)
    if one.status not in (Status.HELD, Status.NOT_DECIDABLE):
        return one
    breach = Breach(
        proof=shown.proof,
        expected=one.value,
        found=shown.message,
        head=shown.head,
        query=shown.query,
        size=shown.size,
    )
    return replace(one, status=Status.BROKEN, behaviour=said, found=shown.message, breach=breach)


def _ordered(judgements: list[Judgement], paths: list[str]) -> list[Judgement]:
    """By the places of the modules; what is of the whole model comes last."""
    place = {path: index for index, path in enumerate(paths)}
    return sorted(judgements, key=lambda one: place.get(one.path, 0) if one.path else len(paths))


def _named(one: Judgement, keywords: Mapping[str, Any], two_sided: bool) -> Judgement:
    """The judgement with the ids of its two tokens."""
    breach = one.breach
    if breach is None:
        return one
    name = "decoder_input_ids" if two_sided and "encoder" not in one.path.split(".")[:2] else "input_ids"
    ids: Any = keywords.get(name, keywords.get("idx"))
    row = breach.sequence or 0

    def token(place: int | None) -> int | None:
        inside = isinstance(ids, Tensor) and ids.dim() == 2 and place is not None and 0 <= place < ids.shape[1]
        return int(ids[row, place]) if inside and row < len(ids) else None

    named: Breach = replace(breach, tokens=(token(breach.query), token(breach.key)))
    return replace(one, breach=named)


def _module(model: Any, tokenizer: Any) -> tuple[nn.Module, Any]:
    """The module and the tokenizer, of a model that ``heedful.load_model`` gave too."""
    inside = getattr(model, "model", None)
    if isinstance(model, nn.Module):
        return model, tokenizer
    if isinstance(inside, nn.Module) and hasattr(model, "tokenizer"):
        return inside, tokenizer if tokenizer is not None else model.tokenizer
    message = "expected a torch module, or what heedful.load_model gives"
    raise UsageError(f"model: {message}, got {type(model).__name__} (heedful check takes paths)")


def _by_reason(undecided: Mapping[str, str]) -> list[str]:
    """Each reason once, with the first module that it is of."""
    modules: dict[str, list[str]] = {}
    for path, why in undecided.items():
        modules.setdefault(why, []).append(path or "the model")
    return [f"{p[0]}{f' and {len(p) - 1} more' if len(p) > 1 else ''}: {why}" for why, p in modules.items()]


def _contradictions(judgements: list[Judgement]) -> list[str]:
    return list(dict.fromkeys(one.source for one in judgements if one.status is Status.CONTRADICTION))


def _texts(judgements: list[Judgement], tokenizer: Any) -> dict[int, str]:
    if tokenizer is None:
        return {}
    ids = {token for one in judgements if one.breach is not None for token in one.breach.tokens if token is not None}
    return {token: str(tokenizer.decode([token])) for token in sorted(ids)}


LIMIT = 16
"""Machine epsilons by which an output must move where a module's attention is taken away."""


def capture_proofs(
    run: Any,
    keywords: Mapping[str, Any],
    judge: KernelJudge,
    way: Any,
    reached: set[str],
    *,
    output: Any = None,
) -> list[CaptureProof]:
    """Return one proof per module: captured modules in call order, then the others.

    Args:
        run: Runs the model.
        keywords: The batch.
        judge: What was seen of each module's calls.
        way: What the interception knows of modules that were not captured.
        reached: Modules of which a gradient showed that their output reaches the model's.
        output: The model's own output, where others are to be taken away; None asks for no replacement.
    """
    missing = way.not_captured()
    proofs = []
    for path, one in judge.captured.items():
        reasons = [] if math.isnan(one.error) or one.agrees else [f"recomputed output differs by {one.error:.1e}"]
        if math.isnan(one.error):
            reasons.append("no values were seen")
        replaced, moved = path in reached, math.nan
        if not replaced and output is not None:
            moved, reason = _taken_away(run, keywords, path, output)
            replaced = not reason
            reasons += [reason] if reason else []
        proofs.append(
            CaptureProof(
                path=path,
                way=one.way,
                heads=one.heads,
                error=one.error,
                recomputed=one.agrees and not math.isnan(one.error) and path not in missing,
                moved=moved,
                replaced=replaced,
                reason=missing.get(path, "; ".join(reasons)),
                note=way.notes.get(one.way, ""),
            )
        )
    return proofs + [CaptureProof(path=path, reason=why) for path, why in missing.items() if path not in judge.captured]


def _taken_away(run: Any, keywords: Mapping[str, Any], path: str, output: Any) -> tuple[float, str]:
    """How far the model's output moves without one module's attention, and why that proves nothing."""
    try:
        before = main_tensor(output)
        with replace_attention(run.model, "zero", layers=[path]), torch.no_grad():
            after = main_tensor(run(keywords))
    except HeedfulError as refused:
        return math.nan, str(refused)
    if after.shape != before.shape:
        return math.inf, ""
    moved = _change(before.float(), after.float())
    message = "" if moved > LIMIT * torch.finfo(before.dtype).eps else "the model's output does not change without it"
    return moved, message


def _change(one: Tensor, other: Tensor) -> float:
    size = one.abs().nan_to_num(0, 0, 0).max().clamp_min(torch.finfo(one.dtype).tiny)
    return float((one - other).abs().nan_to_num(0, 0, 0).max() / size)


LENGTH = 128
"""Tokens of the batch that is made where none is given."""


def first_batch(model: nn.Module, batch: Any, tokenizer: Any = None) -> tuple[Any, list[str]]:
    """Return one batch, and notes that state where it comes from.

    Args:
        model: The model.
        batch: A mapping, token ids, texts with a tokenizer, a path, a loader (its first batch is taken), or None.
        tokenizer: Makes tokens of texts.

    Raises:
        UsageError: Nothing can be made of it.
    """
    if batch is None:
        return drawn_ids(model), ["no batch was given: random tokens, nothing packed or padded"]
    if isinstance(batch, Tensor | Mapping):
        return batch, []
    if isinstance(batch, Path):
        return read_batch(batch), [f"batch of {batch.name}"]
    if isinstance(batch, str) or (isinstance(batch, Sequence) and batch and all(isinstance(t, str) for t in batch)):
        return _tokenized(batch, tokenizer), []
    if isinstance(batch, Iterable):
        first = next(iter(batch), None)
        if first is None:
            raise UsageError("batch: expected at least one batch of the loader, got none")
        if isinstance(first, Tensor | Mapping):
            return first, ["the first batch of the loader"]
        if isinstance(first, tuple | list) and first and isinstance(first[0], Tensor):
            return first[0], ["the first tensor of the loader's first batch"]
    raise UsageError(f"batch: expected a mapping of the forward's arguments, token ids or a loader, got {_kind(batch)}")


def _kind(batch: Any) -> str:
    return type(batch).__name__


def _tokenized(texts: Any, tokenizer: Any) -> dict[str, Any]:
    if tokenizer is None:
        raise UsageError("batch: text needs a tokenizer (tokenizer=..., or pass token ids)")
    several = not isinstance(texts, str) and len(texts) > 1
    made = tokenizer(texts if not isinstance(texts, str) else [texts], return_tensors="pt", padding=several)
    return {name: value for name, value in made.items() if isinstance(value, Tensor)}


def drawn_ids(model: nn.Module) -> dict[str, Any]:
    """Return random token ids with a fixed seed, as long as the model's positions allow.

    Raises:
        UsageError: The model shows no embedding of tokens.
    """
    from heedful.loading.positions import embedded_tokens, learned_positions

    known = embedded_tokens(model)
    if known is None:
        raise UsageError(f"batch: {type(model).__name__} shows no embedding of tokens (give a batch)")
    length = min(LENGTH, learned_positions(model) or LENGTH)
    generator = torch.Generator().manual_seed(0)
    return {"input_ids": torch.randint(min(4, known - 1), known, (1, length), generator=generator)}


def read_batch(path: Path) -> dict[str, Tensor]:
    """Read a batch of named tensors from a ``.safetensors`` or ``.pt`` file, without executing code from it.

    Raises:
        UsageError: The file is no mapping of names to tensors.
    """
    if not path.is_file():
        raise UsageError(f"--batch {path}: no such file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes the readers raise
        message = (" ".join(str(error).split()) or type(error).__name__)[:160]
        raise UsageError(f"--batch {path}: expected a file of named tensors: {message}") from error
    if not isinstance(found, Mapping) or not all(isinstance(one, Tensor) for one in found.values()):
        raise UsageError(f"--batch {path}: expected a mapping of names to tensors, got {type(found).__name__}")
    return {str(name): value for name, value in found.items()}
