"""Section 8: does every trainable attention parameter get a gradient?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from heedful.evaluation.gradient import ParameterGradient
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.verdict import Verdict

SOURCE = "a real backward of the loss on one batch; a parameter's name is no evidence"


@check(
    section=8,
    source=SOURCE,
    meaning="A parameter without a gradient does not learn: look for a detached tensor, a frozen part or dead code.",
)
def gradients_reach_attention(study: Study) -> list[Finding]:
    """Every trainable parameter of every attention module gets a finite gradient that is not zero everywhere.

    Parameters behind one that begins at exactly 0 (a zero-initialised output, ReZero, LoRA) have none before the first
    step of training and all after it: a warning that names the gate, no failure.
    """
    if study.objective.name == "none":
        return [
            Finding(
                claim="gradients_reach_attention", verdict=Verdict.SKIP, reason=study.objective.reason, source=SOURCE
            )
        ]
    gradients = study.gradients
    live = [g for g in gradients if not g.frozen and not g.elsewhere]
    frozen = [g.name for g in gradients if g.frozen]
    away = [g.name for g in gradients if g.elsewhere and not g.frozen]
    named = f"; frozen: {len(frozen)} ({', '.join(frozen[:3])})" if frozen else ""
    named += f"; offloaded, so not known: {len(away)} ({', '.join(away[:3])})" if away else ""
    if not live:
        reason = _nothing_live(gradients, away, named)
        return [Finding(claim="gradients_reach_attention", verdict=Verdict.SKIP, reason=reason, source=SOURCE)]
    bad = [g for g in live if not g.finite]
    still = [g for g in live if g.finite and g.norm == 0.0]
    dead, gated = [g for g in still if not g.gate], [g for g in still if g.gate]
    problems = []
    if bad:
        problems.append(f"not finite in {len(bad)}: {', '.join(g.name for g in bad[:3])}")
    if dead:
        problems.append(f"zero everywhere in {len(dead)}: {', '.join(g.name for g in dead[:3])}")
    if gated:
        gates = list(dict.fromkeys(g.gate for g in gated))
        problems.append(
            f"{len(gated)} wait behind {len(gates)} parameters that are exactly 0 ({', '.join(gates[:3])}): they get a "
            "gradient once those have moved; validate again after some steps"
        )
    norms = [g.norm for g in live if g.finite]
    overall = Finding(
        claim="gradients_reach_attention",
        verdict=Verdict.FAIL if bad or dead else Verdict.WARN if gated else Verdict.PASS,
        reason=f"{'; '.join(problems) or f'all {len(live)} trainable tensors get a gradient'}{named}",
        estimate=(len(live) - len(bad) - len(still)) / len(live),
        unit="share reached",
        n=_documents(study),
        null="exact: 1",
        threshold=1.0,
        source=SOURCE,
        detail={
            "trainable": len(live),
            "frozen": frozen[:20],
            "gates": {g.name: g.gate for g in gated[:20]},
            "largest_norm": max(norms, default=None),
            "smallest_norm": min(norms, default=None),
        },
    )
    layers = sorted({g.layer for g in live})
    return [overall, *(_layer(study, layer, [g for g in live if g.layer == layer]) for layer in layers)]


def _nothing_live(gradients: Sequence[ParameterGradient], away: Sequence[str], named: str) -> str:
    if not gradients:
        return "the attention modules have no parameters of their own"
    return f"no gradient can be checked{named}" if away else f"all are frozen{named}"


def _documents(study: Study) -> int:
    """Documents in the batch that went backward."""
    return len(study.sequences.document[study.backward_batch.index].unique())


def _layer(study: Study, layer: int, found: list[ParameterGradient]) -> Finding:
    norm = math.sqrt(sum(g.norm**2 for g in found if g.finite))
    broken = any(not g.finite or (g.norm == 0.0 and not g.gate) for g in found)
    gated = any(g.gate for g in found)
    return Finding(
        claim="gradients_reach_attention",
        verdict=Verdict.ERROR if broken else Verdict.WARN if gated else Verdict.INFO,
        reason=f"gradient norm {norm:.3g} over {len(found)} tensors, "
        f"{min(g.nonzero for g in found):.0%} of entries or more not 0",
        estimate=norm,
        unit="gradient norm",
        n=_documents(study),
        source=SOURCE,
        layer=layer,
        detail={g.name: g.norm for g in found[:12]},
    )
