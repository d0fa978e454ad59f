"""Alarms of a training run: what each kind means, what helps, and where one was raised (step, layer, heads)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heedful.errors import UsageError

Head = tuple[int, int | None]
"""A layer, and a head of it; None for the layer as a whole."""


@dataclass(frozen=True)
class AlarmKind:
    """Meaning of one kind of alarm, the usual remedy, and the source of both."""

    meaning: str
    remedy: str
    source: str


KINDS: dict[str, AlarmKind] = {
    "logits": AlarmKind(
        "Logits that grow without bound make attention one-hot and its gradient useless; runs that diverge show this "
        "first.",
        "normalise queries and keys (QK-norm), clip W_Q and W_K where a logit exceeds 100 (QK-clip), or lower the rate",
        "Dehghani et al. 2023, arXiv:2302.05442; Wortsman et al. 2023, arXiv:2309.14322; Kimi Team 2025, "
        "arXiv:2507.20534",
    ),
    "collapse": AlarmKind(
        "Entropy collapse: heads look at single keys, whatever the text is, and the training becomes unstable.",
        "lower the rate or warm up longer, normalise queries and keys (QK-norm), or bound the spectral norm of W_Q and "
        "W_K (sigma-Reparam)",
        "Zhai et al. 2023, arXiv:2303.06296",
    ),
    "sink": AlarmKind(
        "A sink forms: the head gives much of its weight to one key whatever the query is. Usual in large language "
        "models, and costly for low precision and for long contexts.",
        "nothing if you quantise neither keys nor activations; else learn a sink logit or gate the heads' outputs",
        "Gu et al. 2024, arXiv:2410.10781; Qiu et al. 2025, arXiv:2505.06708",
    ),
    "dead_head": AlarmKind(
        "The head gets a thousandth of the gradient that a typical head gets: it is not being trained.",
        "look for a mask, a gate or an output weight of 0 at this head; else train with fewer heads, or prune it",
        "Michel et al. 2019, arXiv:1905.10650",
    ),
    "rank_collapse": AlarmKind(
        "The keys of every head of the layer lie on a line, so that queries can tell them apart in one way only.",
        "lower the rate, decay gains and embeddings less, or look at the residual stream: skip connections and "
        "normalisation prevent it",
        "Dong et al. 2021, arXiv:2103.03404; Noci et al. 2022, arXiv:2206.03126",
    ),
    "vanishing_gradient": AlarmKind(
        "Queries and keys of the layer hardly get a gradient any more: attention there stays as it is.",
        "look for saturated heads in this layer (entropy near 0 or near its most), then lower the rate or use QK-norm",
        "Noci et al. 2022, arXiv:2206.03126; Zhai et al. 2023, arXiv:2303.06296",
    ),
    "spike": AlarmKind(
        "A spike of gradient or loss: one step moves the weights by more than many steps before.",
        "clip gradients, lower the rate, add a z-loss, or go back to an earlier checkpoint and skip these batches",
        "Chowdhery et al. 2022, arXiv:2204.02311; Takase et al. 2023, arXiv:2312.16903",
    ),
    "not_finite": AlarmKind(
        "A number is infinite or NaN: the step is lost, and all later ones unless the loop skips it.",
        "in float16 use loss scaling or bfloat16; else lower the rate, and clip logits or gradients",
        "Micikevicius et al. 2017, arXiv:1710.03740",
    ),
}
"""Kinds of alarms by name."""


@dataclass(frozen=True)
class Alarm:
    """One alarm, raised at one step of a training run.

    Attributes:
        kind: One of ``KINDS``.
        step: Step at which it was raised.
        heads: Layers and heads that it is about, the worst first; empty where it is about the whole model.
        what: What was measured, with the limit.
    """

    kind: str
    step: int
    heads: tuple[Head, ...]
    what: str

    @property
    def place(self) -> str:
        """Names of the first three heads or layers, and how many more there are; an empty string if the alarm is on
        the whole model.
        """
        named = [f"L{layer}" if head is None else f"L{layer}H{head}" for layer, head in self.heads]
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        return ", ".join(named[:3]) + more

    @property
    def message(self) -> str:
        """Kind, heads and what was measured, in one line."""
        return f"{self.kind}: {self.place}{' ' if self.place else ''}{self.what}"

    @property
    def advice(self) -> str:
        """Meaning of the alarm, the usual remedy, and the source, as text."""
        kind = KINDS[self.kind]
        return f"{kind.meaning} What people do: {kind.remedy}. {kind.source}"

    @property
    def row(self) -> dict[str, object]:
        """The alarm as a row of the tracker's table, by column; layer and head are the worst ones."""
        layer, head = self.heads[0] if self.heads else (None, None)
        words = {"label": self.kind, "alarm": self.message, "note": self.advice}
        return {"part": "step", "layer": layer, "head": head, **words}


def kinds_of(name: str, given: str | Sequence[str]) -> frozenset[str]:
    """Return the set of alarm kinds that a user named; ``any`` selects all kinds.

    Args:
        name: What the argument is called.
        given: A kind, several, or ``any``.

    Raises:
        UsageError: One is no kind.
    """
    asked = (given,) if isinstance(given, str) else tuple(given)
    wrong = [one for one in asked if one != "any" and one not in KINDS]
    if wrong:
        raise UsageError(f"{name}: expected any or some of {', '.join(KINDS)}; got {wrong[0]!r}")
    return frozenset(KINDS) if "any" in asked else frozenset(asked)
