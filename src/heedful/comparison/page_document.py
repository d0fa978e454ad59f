"""Convert a comparison to strict JSON, schema ``heedful.comparison/1``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heedful.reporting.json_text import document_text
from heedful.reporting.json_values import json_value

if TYPE_CHECKING:
    from heedful.comparison.record import Comparison, FindingChange

COMPARISON_SCHEMA = "heedful.comparison/1"
_FIELDS = (
    *("difference", "interval", "unit", "n", "paired", "p", "p_adjusted", "margin", "reason", "regressions"),
    *("within", "p_equivalent", "equivalence"),
)


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as a JSON-compatible dict; non-finite numbers become null."""
    lost: list[str] = []
    document = {
        "schema": COMPARISON_SCHEMA,
        "failed": comparison.failed,
        "fail_on": comparison.fail_on,
        "regressions": comparison.regressions,
        "names": comparison.names,
        "verdicts": comparison.verdicts,
        "pairing": comparison.pairing,
        "context": [{"what": what, "before": one, "after": two} for what, one, two in comparison.context],
        "findings": [_finding(one) for one in comparison.findings],
        "head_verdicts": {
            claim: {"changed": few, "heads": all_} for claim, (few, all_) in comparison.head_verdicts.items()
        },
        "heads": [
            {
                "layer": head.layer,
                "module": head.module,
                "head": head.head,
                "label": head.label,
                "verdicts": head.verdicts,
                "patterns": head.patterns,
                "differences": head.differences,
            }
            for head in comparison.heads
        ],
        "heads_reason": comparison.heads_reason,
        "settings": comparison.settings,
    }
    return {name: json_value(value, f"$.{name}", lost) for name, value in document.items()}


def comparison_json(comparison: Comparison) -> str:
    """Return the comparison as JSON text that ends with a newline."""
    return document_text(comparison_document(comparison))


def _finding(change: FindingChange) -> dict[str, Any]:
    before, after = change.before, change.after
    return {
        "claim": change.claim,
        "section": change.section,
        "layer": change.layer,
        "verdicts": [None if one is None else str(one.verdict) for one in (before, after)],
        "estimates": [None if one is None else one.estimate for one in (before, after)],
        "definition_changed": change.redefined,
        **{name: getattr(change, name) for name in _FIELDS},
    }
