"""Section 6: do queries attend by content and not by position alone?"""

from __future__ import annotations

from heedful.evaluation.judging import HeadClaim, head_findings
from heedful.evaluation.lagged import with_detail
from heedful.evaluation.null_comparison import content_null
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.signflip import sign_flip
from heedful.inference.units import mean_of

SOURCE = (
    "Jensen-Shannon divergence between the same position of two documents over common keys; "
    "0 for any pattern of position alone"
)


@check(
    section=6,
    source=SOURCE,
    definition=2,
    meaning="If this fails, heads follow positions alone, and a fixed pattern would do the same work.",
)
def queries_attend_by_content(study: Study) -> list[Finding]:
    """Queries at the same position attend differently in different documents: attention depends on content.

    A pattern of position alone gives exactly 0; an untrained model does not, so that PASS also asks for queries that
    are turned towards their keys more than random orientations are. ``detail`` of the model's finding says by how much
    the divergence differs from that on shuffled tokens: whether the order of the text matters as well as its words.
    """
    margin = study.settings.margins.content
    claim = HeadClaim(
        claim="queries_attend_by_content",
        what="divergence between documents",
        unit="nat",
        present_above=margin,
        absent_below=margin,
        source=SOURCE,
    )
    values = study.observed.stacked("other_document")
    found = head_findings(study, claim, study.paired_units(values), content_null(study, "other_document"))
    other = study.on_shuffled.stacked("other_document")
    first = values[: len(other)]
    difference = study.paired_units(mean_of(first, axis=1) - mean_of(other, axis=1))
    order = sign_flip(difference, resamples=study.settings.resamples, seed=study.settings.seed)
    more = {"shuffled_tokens": float(mean_of(other)), "order_p": float(order.p)}
    return [with_detail(found[0], **more), *found[1:]]
