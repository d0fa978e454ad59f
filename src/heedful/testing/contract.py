"""Assertions that attention keeps the promised mask, scale and positions on a batch, which is passed to the model
unchanged.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from heedful.contract.check import check
from heedful.contract.record import Contract, ContractReport, Status
from heedful.errors import CaptureError


def assert_contract(
    model: nn.Module, batch: Any = None, *, contract: Contract | None = None, documents: Any = None
) -> ContractReport:
    """Assert every testable property of mask, scale and positions that config, batch or ``contract`` promises.

    Args:
        model: The model.
        batch: Keyword arguments of the forward, every key of them; as for ``heedful.check``.
        contract: Promises that overrule them.
        documents: ``(batch, position)`` labels of packed documents.

    Returns:
        The report.

    Raises:
        AssertionError: A promise is broken, or none could be judged; the message is the report's own.
    """
    __tracebackhide__ = True
    report = _checked("the contract holds", model, batch, contract=contract, documents=documents)
    if report.held:
        return report
    broken = report.broken
    summary = _breach(report, [one.promise for one in broken]) if broken else "no promise could be judged"
    raise AssertionError(f"the contract holds: {summary}")


def assert_documents_isolated(model: nn.Module, batch: Any, *, documents: Any = None) -> ContractReport:
    """Assert that no token of a packed row attends to, or is affected by, a token of another document.

    Args:
        model: The model.
        batch: Keyword arguments of the forward; documents are read from positions that begin again, ``cu_seq_lens_q``,
            ``seq_idx`` or a mask that numbers them.
        documents: ``(batch, position)`` labels that overrule those.

    Returns:
        The report.

    Raises:
        AssertionError: A document is seen by another one, or the batch names no two documents.
    """
    __tracebackhide__ = True
    report = _checked("documents are isolated", model, batch, documents=documents)
    return _holds("documents are isolated", report, ("documents",))


def assert_window(model: nn.Module, batch: Any, *, window: int | list[int] | None = None) -> ContractReport:
    """Assert that each layer sees exactly the keys of its sliding window.

    Args:
        model: The model.
        batch: Keyword arguments of the forward, longer than the window.
        window: Keys that a query sees, its own included, for all layers or each; None: what the config promises.

    Returns:
        The report.

    Raises:
        AssertionError: A key outside is seen, one inside is not, or the text is not longer than any window.
    """
    __tracebackhide__ = True
    contract = None if window is None else Contract(window=window)
    report = _checked("windows are as promised", model, batch, contract=contract)
    return _holds("windows are as promised", report, ("window", "chunk"))


def assert_attends_both_ways(model: nn.Module, batch: Any) -> ContractReport:
    """Assert that every query sees keys before and after it.

    Args:
        model: The model, one that was meant to look both ways.
        batch: Keyword arguments of the forward.

    Returns:
        The report.

    Raises:
        AssertionError: A key that no other promise hides is not seen.
    """
    __tracebackhide__ = True
    report = _checked("attention is bidirectional", model, batch, contract=Contract(direction="both"))
    return _holds("attention is bidirectional", report, ("direction",))


def assert_padding_unseen(model: nn.Module, batch: Any) -> ContractReport:
    """Assert that no token attends to padding, and that left padding does not shift positions.

    Args:
        model: The model.
        batch: Keyword arguments of the forward, with an ``attention_mask`` that hides some positions.

    Returns:
        The report.

    Raises:
        AssertionError: Padding is seen, or the batch holds none.
    """
    __tracebackhide__ = True
    report = _checked("padding is unseen", model, batch)
    return _holds("padding is unseen", report, ("padding", "positions"))


def assert_rotary(
    model: nn.Module, batch: Any, *, theta: float | None = None, pairing: str | None = None
) -> ContractReport:
    """Assert that queries and keys are rotated by the promised angles, and normalised before the rotation if the
    config promises query-key norm.

    Args:
        model: The model.
        batch: Keyword arguments of the forward.
        theta: Base of the frequencies; None: the config's.
        pairing: ``half`` or ``interleaved``; None: that of the model type.

    Returns:
        The report.

    Raises:
        AssertionError: An angle, a size or a pairing differs, or none is promised.
    """
    __tracebackhide__ = True
    contract = Contract(theta=theta, pairing=pairing)
    report = _checked("rotary positions are as promised", model, batch, contract=contract, behaviour=False)
    return _holds("rotary positions are as promised", report, ("rotary", "qk_norm"))


def assert_scale(
    model: nn.Module, batch: Any, *, scale: float | None = None, softcap: float | None = None
) -> ContractReport:
    """Assert that the kernel scales, caps and biases its logits as promised.

    Args:
        model: The model.
        batch: Keyword arguments of the forward.
        scale: Factor of the products; None: what the config promises, else what the call hands over.
        softcap: Bound of the logits; None: the config's.

    Returns:
        The report.

    Raises:
        AssertionError: The kernel's weights are those of other logits, or they do not tell.
    """
    __tracebackhide__ = True
    contract = Contract(scale=scale, softcap=softcap)
    report = _checked("logits are scaled as promised", model, batch, contract=contract, behaviour=False)
    return _holds("logits are scaled as promised", report, ("scale", "softcap", "sink", "bias"))


def assert_grouped_heads(model: nn.Module, batch: Any) -> ContractReport:
    """Assert that query head h uses the keys and values of key head ``h // (heads / key heads)``.

    Args:
        model: The model, with fewer key heads than heads and more than one.
        batch: Keyword arguments of the forward.

    Returns:
        The report.

    Raises:
        AssertionError: Another key head is read, or there is one key head, or one for each head.
    """
    __tracebackhide__ = True
    report = _checked("heads are grouped as promised", model, batch, behaviour=False)
    return _holds("heads are grouped as promised", report, ("grouping",))


def promised(
    claim: str, model: nn.Module, batch: Any, promises: tuple[str, ...], *, contract: Contract | None = None
) -> ContractReport:
    """Check a batch and return the report; raise AssertionError if a promise is broken or none was testable.

    Args:
        claim: What the assertion says, for its message.
        model: The model.
        batch: Keyword arguments of the forward.
        promises: Names of the promises.
        contract: Promises that overrule the config's.

    Raises:
        AssertionError: One is broken, or none was judged.
    """
    __tracebackhide__ = True
    return _holds(claim, _checked(claim, model, batch, contract=contract), promises)


def _checked(
    claim: str,
    model: nn.Module,
    batch: Any,
    *,
    contract: Contract | None = None,
    documents: Any = None,
    behaviour: bool = True,
) -> ContractReport:
    __tracebackhide__ = True
    if documents is not None:
        contract = replace(contract or Contract(), documents=documents)
    try:
        return check(model, batch, contract=contract, behaviour=behaviour)
    except CaptureError as error:
        raise AssertionError(f"{claim}: could not be judged: {error}") from error


def _holds(claim: str, report: ContractReport, promises: tuple[str, ...]) -> ContractReport:
    """The report, where one of the promises was judged and none of them is broken."""
    __tracebackhide__ = True
    every = [one for name in promises for one in report.of(name)]
    if any(one.status is Status.BROKEN for one in every):
        raise AssertionError(f"{claim}: {_breach(report, promises)}")
    if not any(one.status is Status.HELD for one in every):
        reason = next((f"{one.status}: {one.found}" for one in every), "neither config nor batch promises it")
        raise AssertionError(f"{claim}: not judged: {reason}")
    return report


def _breach(report: ContractReport, promises: Any) -> str:
    one = next(one for one in report.broken if one.promise in promises)
    where = f"layer {one.layer} ({one.path})" if one.layer is not None else one.path or "the whole model"
    breach = one.breach
    pair = ""
    if breach is not None:
        words = [(name, getattr(breach, name)) for name in ("sequence", "head", "query", "key")]
        pair = ", ".join(
            f"{'row' if name == 'sequence' else name} {value}" for name, value in words if value is not None
        )
        pair = f", {pair}: promised: {breach.expected}; found: {breach.found}"
    remedy = "" if one.remedy is None else f" (remedy: {one.remedy.text})"
    return f"does not hold: {one.promise}: {where}{pair}{remedy}"
