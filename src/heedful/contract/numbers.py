"""Compare the promised scale, softcap, sink and head grouping of a call with those of the kernel.

Infer scale, softcap, sink, head grouping and unpromised bias from the kernel's weights.

The logarithm of a row of weights is the row of logits less one constant. So, within each row, ``log A`` of the visible
keys is compared with ``c tanh(s q.k / c) + bias``, both less their means over the row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.contract import families
from heedful.contract.promises import Place
from heedful.contract.record import Contract, Promise, Status
from heedful.contract.rules import Rules
from heedful.contract.sampled_rows import KernelRows, SampledRows

UNREAD = "its logits are made by the module itself and were seen as a whole"
SINK = {torch.float32: 2e-4, torch.float64: 2e-4}


@dataclass(frozen=True)
class NumberFinding:
    """Result of checking one promised number, such as the scale, in one attention call.

    Attributes:
        promise: What was promised; its source is empty where nothing was.
        status: What became of it.
        found: What the kernel's weights say.
        where: ``(sequence, head, query, key)`` of the first wrong pair, or None.
        size: Largest difference of logits, or of weights.
    """

    promise: Promise
    status: Status
    found: str = ""
    where: tuple[int, int | None, int, int | None] | None = None
    size: float = float("nan")


def promised_scale(place: Place, call: AttentionCall, contract: Contract) -> Promise | None:
    """Return the logit scale that config or user promise, or None."""
    config, name = place.config, place.model_type
    if contract.scale is not None:
        return Promise("scale", float(contract.scale), "contract")
    if name in families.UNIT_SCALE:
        return Promise("scale", 1.0, f"model type {name}, which does not scale")
    before = getattr(config, "query_pre_attn_scalar", None)
    if isinstance(before, int | float) and before > 0:
        return Promise("scale", float(before) ** -0.5, "config.query_pre_attn_scalar ** -0.5")
    factor = getattr(config, "attention_multiplier", None)
    if isinstance(factor, int | float) and name.startswith("granite"):
        return Promise("scale", float(factor), "config.attention_multiplier")
    usual = call.query.shape[-1] ** -0.5
    if name == "gpt2":
        if not getattr(config, "scale_attn_weights", True):
            usual = 1.0
        if getattr(config, "scale_attn_by_inverse_layer_idx", False) and place.index is not None:
            return Promise("scale", usual / (place.index + 1), "config.scale_attn_by_inverse_layer_idx")
    if name in families.LATENT and hasattr(place.module, "qk_rope_head_dim"):
        return _latent_scale(config, usual, call.query.shape[-1])
    scaled_before = isinstance(place.module, nn.MultiheadAttention)
    if name in families.USUAL_SCALE and not _stretched(config) and not scaled_before:
        return Promise("scale", usual, f"1 / sqrt({call.query.shape[-1]}), the width of a head")
    return None


def _latent_scale(config: Any, usual: float, width: int) -> Promise:
    """One over the root of both parts' width, times the square of YaRN's factor with ``mscale_all_dim``."""
    rope = getattr(config, "rope_parameters", None)
    rope = rope if isinstance(rope, dict) else {}
    every, factor = rope.get("mscale_all_dim"), rope.get("factor")
    if rope.get("rope_type", "default") == "default" or not every or not factor:
        return Promise("scale", usual, f"1 / sqrt({width}), both parts of a head")
    size = 1.0 if factor <= 1 else 0.1 * float(every) * math.log(factor) + 1.0
    return Promise("scale", usual * size * size, f"1 / sqrt({width}), times YaRN's factor by mscale_all_dim twice")


def _stretched(config: Any) -> bool:
    rope = getattr(config, "rope_parameters", None)
    return isinstance(rope, dict) and bool(rope.get("mscale_all_dim"))


def promised_softcap(place: Place, contract: Contract) -> Promise | None:
    """Return the softcap that config or user promise, or None; a promise of None means no softcap."""
    if contract.softcap is not None:
        return Promise("softcap", float(contract.softcap) or None, "contract")
    if hasattr(place.config, "attn_logit_softcapping"):
        cap = place.config.attn_logit_softcapping
        return Promise("softcap", None if not cap else float(cap), "config.attn_logit_softcapping")
    return None


class Numbers:
    """Judges the promised numbers of one call and computes the expected weights.

    Args:
        place: The module.
        call: Its call.
        way: How the call was captured.
        rows: The kernel's weights.
        rules: What is promised of who sees whom.
        contract: What a person promises.
    """

    def __init__(
        self, place: Place, call: AttentionCall, way: str, rows: KernelRows, rules: Rules, contract: Contract
    ) -> None:
        self.place, self.call, self.rows, self.rules = place, call, rows, rules
        self.readable = not way.startswith("softmax")
        self.scale = promised_scale(place, call, contract) if self.readable else None
        self.softcap = promised_softcap(place, contract)
        self.found: list[NumberFinding] = []
        self.live = rules.live_rows(call.batch, call.query.device)
        self.logits: Tensor | None = None
        self.explained: tuple[float, float | None, str] | None = None
        self.row_logits = RowLogits(call, rows.keys, rows.weights, self.live) if self.readable else None

    def judge(self) -> list[NumberFinding]:
        """Return findings on the promised numbers; also prepares ``expected``."""
        if self.row_logits is None:
            return self.found
        products = self.row_logits.products()
        wanted = self.scale.value if self.scale is not None else self.call.scale
        cap = self.softcap.value if self.softcap is not None else self.call.softcap
        _, _, uncertain = self.row_logits.slope(products)
        if not uncertain < 0.1 * abs(wanted):
            self._all(Status.NOT_EXERCISED, "products of queries and keys hardly differ within rows")
            return self.found
        promised = capped(products, wanted, cap)
        fit = self.row_logits.fit(promised)
        if fit.explains:
            self.logits = promised
            self.explained = wanted, cap, "repeat"
            self._held(products, wanted, cap)
        else:
            self._name(products, wanted, cap, fit)
        self._sink()
        return self.found

    def _add(self, promise: Promise, status: Status, found: str, fit: LogitFit | None = None) -> None:
        where = None
        if fit is not None and fit.where is not None:
            sequence, head, query, column = fit.where
            where = (sequence, head, query, int(self.rows.keys[column]))
        size = float("nan") if fit is None else fit.deviation
        self.found.append(NumberFinding(promise, status, found, where, size))

    def _promise(self, name: str) -> Promise:
        own = {"scale": self.scale, "softcap": self.softcap}.get(name)
        if own is not None:
            return own
        if name == "scale":
            return Promise("scale", self.call.scale, "the call's own scale")
        return Promise(name, self.call.softcap, "the call's own softcap")

    def _grouping(self) -> Promise | None:
        if not 1 < self.call.kv_heads < self.call.heads:
            return None
        each = self.call.heads // self.call.kv_heads
        return Promise("grouping", f"query head h reads key head h // {each}", f"{self.call.kv_heads} key heads")

    def _all(self, status: Status, why: str) -> None:
        self._add(self._promise("scale"), status, why)
        if self._promise("softcap").value:
            self._add(self._promise("softcap"), status, why)
        if (grouping := self._grouping()) is not None:
            self._add(grouping, status, why)

    def _held(self, products: Tensor, scale: float, cap: float | None) -> None:
        logits = self.row_logits
        slope, _, _ = logits.slope(products)  # type: ignore[union-attr]
        self._add(self._promise("scale"), Status.HELD, f"{scale if cap else slope:.6g}")
        if cap:
            other = logits.fit(capped(products, scale, None))  # type: ignore[union-attr]
            if other.explains:
                self._add(self._promise("softcap"), Status.NOT_EXERCISED, "logits are far below the cap")
            else:
                self._add(self._promise("softcap"), Status.HELD, f"{cap:.6g}")
        grouping = self._grouping()
        if grouping is not None:
            wrong = self._wrong_values()
            tiled = capped(logits.products("tile"), scale, cap)  # type: ignore[union-attr]
            if wrong is not None:
                self.found.append(wrong)
            elif logits.fit(tiled).explains:  # type: ignore[union-attr]
                self._add(grouping, Status.NOT_EXERCISED, "key heads don't differ")
            else:
                self._add(grouping, Status.HELD, "as promised, keys and values")

    def _wrong_values(self) -> NumberFinding | None:
        heads = self.rows.value_heads
        if bool((heads < 0).any()):
            return None
        each = self.call.heads // self.call.kv_heads
        wrong = (heads != torch.arange(self.call.heads, device=heads.device) // each).nonzero()
        if not len(wrong):
            return None
        head = int(wrong[0])
        promise = self._grouping() or Promise("grouping", "", "")
        message = f"query head {head} reads the values of key head {int(heads[head])}"
        return NumberFinding(promise, Status.BROKEN, message, (0, head, 0, 0), 1.0)

    def _name(self, products: Tensor, scale: float, cap: float | None, fit: LogitFit) -> None:
        """Which change of the promised logits explains the weights."""
        rows = self.row_logits
        if rows is None:
            return
        grouping = self._grouping()
        if grouping is not None and rows.fit(tiled := capped(rows.products("tile"), scale, cap)).explains:
            self.logits = tiled
            self.explained = scale, cap, "tile"
            self._add(grouping, Status.BROKEN, "key heads come round in turn: head h reads key head h % K", fit)
            return
        if cap and rows.fit(plain := capped(products, scale, None)).explains:
            self.logits = plain
            self.explained = scale, None, "repeat"
            self._add(self._promise("softcap"), Status.BROKEN, "logits are not capped", fit)
            self._add(self._promise("scale"), Status.HELD, f"{scale:.6g}")
            return
        slope, _, _ = rows.slope(products)
        usual = self.call.query.shape[-1] ** -0.5
        for other in (self.call.scale, slope, scale * scale, 1.0, usual):
            logits = capped(products, other, cap)
            if abs(other - scale) > 1e-4 * abs(scale) and rows.fit(logits).explains:
                self.logits = logits
                self.explained = other, cap, "repeat"
                self._add(self._promise("scale"), Status.BROKEN, f"{other:.6g}", fit)
                return
        slope, distance, _ = rows.slope(products, distance=True)
        biased = capped(products, slope, None) + rows.distance_term(distance, products)
        if rows.fit(biased).explains:
            self.logits = biased
            promise = Promise("bias", "none", "no bias was handed to the kernel")
            self._add(promise, Status.BROKEN, f"{distance:.4g} for each position back", fit)
            if abs(slope - scale) > 1e-3 * abs(scale):
                self._add(self._promise("scale"), Status.BROKEN, f"{slope:.6g}", fit)
            return
        message = (
            f"its queries and keys don't explain the kernel's weights (logits differ by up to {fit.deviation:.2g})"
        )
        self._add(self._promise("scale"), Status.NOT_DECIDABLE, message)

    def sampled_rows_note(self, sampled: SampledRows) -> str:
        """Describe what sampled output rows show about the promised numbers.

        Args:
            sampled: The rows.

        Returns:
            ``held`` where the promised numbers give them, ``BROKEN`` where those do not and what the kernel's weights
            showed does, empty where neither does.
        """
        wanted = self.scale.value if self.scale is not None else self.call.scale
        cap = self.softcap.value if self.softcap is not None else self.call.softcap
        error, limit = sampled.error(wanted, cap)
        if error <= limit:
            return str(Status.HELD)
        if self.explained is None or self.explained == (wanted, cap, "repeat"):
            return ""
        error, limit = sampled.error(*self.explained)
        return str(Status.BROKEN) if error <= limit else ""

    def _sink(self) -> None:
        sinks = getattr(self.place.module, "sinks", None)
        if not isinstance(sinks, Tensor) or sinks.numel() != self.call.heads or self.logits is None:
            return
        promise = Promise("sink", "a learned logit a head", f"parameter {self.place.path}.sinks")
        rows = self.row_logits
        if rows is None:
            return
        normaliser = rows.constants(self.logits)
        wanted = (sinks.detach().double().view(1, -1, 1) - normaliser).exp()
        given = 1 - self.rows.sums[:, :, :: rows.step].double()
        gap = torch.where(self.live[:, None, :: rows.step], (wanted - given).abs(), 0.0).nan_to_num(0.0)
        limit = SINK.get(self.call.query.dtype, 0.03)
        wrong = (gap > limit).nonzero()
        if not len(wrong):
            self.found.append(NumberFinding(promise, Status.HELD, "rows sum to one less the sink's share"))
            return
        sequence, head, query = min(wrong.tolist(), key=lambda place: (place[2], place[0], place[1]))
        message = f"the row sums to {1 - float(given[sequence, head, query]):.4f}, "
        message += f"promised {1 - float(wanted[sequence, head, query]):.4f}"
        where = (sequence, head, query * rows.step, None)
        self.found.append(NumberFinding(promise, Status.BROKEN, message, where, float(gap.max())))

    def expected(self) -> Tensor | None:
        """Return the expected weights at the chosen keys, ``(batch, head, query, column)``; None if unknown."""
        call, keys = self.call, self.rows.keys
        rules = call.visibility
        blocks = (
            [
                rules.block(0, call.n_queries, key, key + 1, call.n_queries, call.n_keys, keys.device)
                for key in keys.tolist()
            ]
            if not self.rows.whole
            else [rules.block(0, call.n_queries, 0, call.n_keys, call.n_queries, call.n_keys, keys.device)]
        )
        handed = torch.cat([one.expand(*one.shape[:2], call.n_queries, one.shape[3]) for one in blocks], -1)
        result = (~handed).to(self.rows.weights.dtype).expand(self.rows.weights.shape)
        if self.logits is None or self.row_logits is None:
            return result
        step, logits = self.row_logits.step, self.row_logits
        normaliser = logits.constants(self.logits)
        likely = (self.logits + logits.bias - normaliser[..., None]).exp().nan_to_num(0.0).to(result.dtype)
        handed = handed.expand(*handed.shape[:2], call.n_queries, handed.shape[3])
        result = result.clone()
        result[:, :, ::step] = torch.where(handed[:, :, ::step], likely, result[:, :, ::step])
        return result


LEAST = 1e-7
"""Weights below this are left out of fits: their logarithm says more of rounding than of logits."""

MOST = 400_000
"""Weights (batch, head, query, column) that one fit takes; queries beyond it are left out evenly."""


@dataclass(frozen=True)
class LogitFit:
    """How well candidate logits explain the weights of a call: deviation, tolerance and first mismatch.

    Attributes:
        deviation: Largest difference within a row.
        limit: Largest difference that rounding explains.
        where: ``(sequence, head, query, column)`` of the first difference beyond the limit, or None.
    """

    deviation: float
    limit: float
    where: tuple[int, int, int, int] | None

    @property
    def explains(self) -> bool:
        """Whether the deviation is within rounding."""
        return self.deviation <= self.limit


class RowLogits:
    """Log weights of one call, and the products of its queries and keys.

    Args:
        call: The call, whose logits are not in its bias.
        keys: ``(column,)`` key positions.
        weights: ``(batch, head, query, column)``.
        live: ``(batch, query)`` rows that count.
    """

    def __init__(self, call: AttentionCall, keys: Tensor, weights: Tensor, live: Tensor) -> None:
        self.call, self.keys = call, keys
        per_query = weights.shape[0] * weights.shape[1] * weights.shape[3]
        self.step = max(1, math.ceil(weights.shape[2] * per_query / MOST))
        self.exact = call.query.dtype in (torch.float32, torch.float64)
        self.weights = weights[:, :, :: self.step].double()
        least = LEAST if self.exact else 1e-3
        self.valid = (self.weights > least) & live[:, None, :: self.step, None]
        self.known = self.valid
        self.logs = torch.where(self.valid, self.weights, 1.0).log()
        self.counts = self.valid.sum(-1, keepdim=True)
        self.valid = self.valid & (self.counts > 1)
        self.query = call.query[:, :, :: self.step].double()
        self.bias = self._bias()

    def _bias(self) -> Tensor | float:
        bias = self.call.bias
        if bias is None:
            return 0.0
        rows = bias if bias.shape[2] == 1 else bias[:, :, :: self.step]
        return (rows if rows.shape[3] == 1 else rows[..., self.keys]).double()

    def products(self, grouping: str = "repeat") -> Tensor:
        """Return ``q.k`` of every query with the chosen keys, ``(batch, head, query, column)``.

        Args:
            grouping: ``repeat``: query heads of a group stand together; ``tile``: key heads come round in turn.
        """
        key = self.call.key[:, :, self.keys].double()
        groups = self.call.heads // self.call.kv_heads
        key = key.repeat_interleave(groups, 1) if grouping == "repeat" else key.repeat(1, groups, 1, 1)
        return self.query @ key.transpose(-1, -2)

    def fit(self, logits: Tensor) -> LogitFit:
        """Compare candidate logits plus the call's bias with the log weights."""
        logits = logits + self.bias
        rest = self._centred(self.logs - logits)
        size = float(torch.where(self.valid, logits.abs(), 0.0).max()) if bool(self.valid.any()) else 0.0
        limit = 1e-4 + 1e-5 * size if self.exact else 0.05 + 0.02 * size
        far = rest.abs() > limit
        deviation = float(rest.abs().max()) if rest.numel() else 0.0
        return LogitFit(deviation, limit, self._first(far))

    def _first(self, far: Tensor) -> tuple[int, int, int, int] | None:
        places = far.nonzero()
        if not len(places):
            return None
        at = self.keys[places[:, 3]]
        batch, heads = self.weights.shape[:2]
        order = ((places[:, 2] * (int(self.keys.max()) + 1) + at) * batch + places[:, 0]) * heads + places[:, 1]
        sequence, head, query, column = places[int(order.argmin())].tolist()
        return sequence, head, query * self.step, column

    def slope(self, products: Tensor, *, distance: bool = False) -> tuple[float, float, float]:
        """Fit log weights minus bias as a linear function of ``products``; return the slope, the slope of distance and
        an error bound.

        Args:
            products: As of ``products``.
            distance: Whether the distance of query and key is a second regressor.

        Returns:
            The slope, the slope of the distance (0 without), and how far the slope may be off.
        """
        target = self._centred(self.logs - self.bias)
        first = self._centred(products)
        total = float((first * first).sum())
        if total <= 0:
            return math.nan, 0.0, math.inf
        if not distance:
            slope = float((first * target).sum()) / total
            return slope, 0.0, self._uncertain(total)
        place = torch.arange(0, self.call.n_queries, self.step, device=self.keys.device)
        second = self._centred((place[:, None] - self.keys[None]).double().expand_as(products))
        a, b, c = total, float((first * second).sum()), float((second * second).sum())
        x, y = float((first * target).sum()), float((second * target).sum())
        inverse = a * c - b * b
        if inverse <= 0:
            return x / a, 0.0, self._uncertain(total)
        return (c * x - b * y) / inverse, (a * y - b * x) / inverse, self._uncertain(total)

    def _uncertain(self, total: float) -> float:
        spread = math.sqrt(total / max(1, int(self.valid.sum())))
        return (1e-5 if self.exact else 2e-2) / spread if spread > 0 else math.inf

    def distance_term(self, factor: float, like: Tensor) -> Tensor:
        """Return ``factor`` times the distance from each query back to each key."""
        place = torch.arange(0, self.call.n_queries, self.step, device=self.keys.device)
        return (factor * (place[:, None] - self.keys[None]).double()).expand_as(like)

    def constants(self, logits: Tensor) -> Tensor:
        """Return the log normaliser of each row, the mean of ``logit - log A``; NaN if no weight is known."""
        rest = torch.where(self.known, logits + self.bias - self.logs, 0.0).sum(-1)
        count = self.known.sum(-1)
        return torch.where(count > 0, rest / count.clamp_min(1), torch.nan)

    def _centred(self, values: Tensor) -> Tensor:
        values = torch.where(self.valid, values, 0.0)
        mean = values.sum(-1, keepdim=True) / self.counts.clamp_min(1)
        return torch.where(self.valid, values - mean, 0.0)


def capped(products: Tensor, scale: float, cap: float | None) -> Tensor:
    """Return ``c tanh(s x / c)``, or ``s x`` without a cap."""
    scaled = products * scale
    return scaled if not cap else cap * torch.tanh(scaled / cap)
