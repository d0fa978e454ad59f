"""Measure the largest attention logit of each head."""

from __future__ import annotations

import math

from torch import Tensor

from heedful.evaluation.evidence import ProbedCall
from heedful.evaluation.probe_registry import PROBES


def max_logit(sight: ProbedCall) -> dict[str, Tensor]:
    r"""Return the largest logit of each head over all visible pairs, after scale, softcap and bias, ``(sequence,
    head)``.

    .. math:: \max_{i,\, j\ \text{visible}} \ell_{ij} = \max_i \bigl(Z_i + \log \max_j A_{ij}\bigr)

    Reading: training that diverges shows logits in the hundreds; clipping rules act on this number.
    Pitfall: logits are known up to a constant of each row; comparing heads by them compares their kernels, not what
    they attend to. Source: Kimi Team 2025, arXiv:2507.20534 (QK-clip); Zhai et al. 2023, arXiv:2303.06296.

    Args:
        sight: The call.

    Returns:
        ``max_logit`` ``(sequence, head)``; NaN where no row sees a key.
    """
    rows = sight.moments.rows
    peak = (rows.logsumexp.double() + rows.max_weight.double().log()).nan_to_num(-math.inf).amax(-1)
    return {"max_logit": peak.masked_fill(peak.isneginf(), math.nan)}


PROBES.add("max_logit", max_logit)
