"""Check one model on one batch: each promise is tested by its kernels and by behaviour; disagreements are reported."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from heedful.contract.batches import first_batch
from heedful.contract.behaviour import Behaviour
from heedful.contract.capture_proofs import capture_proofs
from heedful.contract.invariances import InvarianceResult
from heedful.contract.kernels import KernelJudge
from heedful.contract.promises import PromiseReader
from heedful.contract.record import Breach, Contract, ContractReport, Judgement, Status
from heedful.contract.remedies import fix_of
from heedful.contract.running import WRAPPERS, keywords_of, main_tensor, on_device, repeatable
from heedful.errors import CaptureError, HeedfulError, UsageError
from heedful.interception.headless import without_heads
from heedful.interception.held_heads import is_sharded
from heedful.interception.intercept import intercept
from heedful.interception.uncompiled import original

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
    return ContractReport(
        model=type(plain_model).__name__,
        implementation=implementation,
        batch={name: tuple(value.shape) for name, value in keywords.items() if isinstance(value, Tensor)},
        judgements=fixed,
        proofs=proofs,
        undecided=(*dict.fromkeys(undecided), *found.undecided, *ALONE),
        notes=(*notes, *reader.facts.notes, *(f"contradiction: {t}" for t in _contradictions(fixed))),
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
