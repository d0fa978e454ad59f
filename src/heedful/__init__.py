"""heedful: capture, measure and judge the attention of a running transformer.

Names are loaded on first use, so that ``import heedful`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from heedful.lazy import loader

if TYPE_CHECKING:
    from heedful.attention.call import AttentionCall
    from heedful.attention.engines.groups import Groups
    from heedful.attention.engines.measure import measure
    from heedful.attention.engines.moments import Extras, Moments
    from heedful.attention.visibility import bidirectional, causal, documents, masked, padding
    from heedful.comparison.compare_reports import compare
    from heedful.comparison.record import Comparison
    from heedful.compression.prune import prune
    from heedful.compression.quantize import quantize
    from heedful.contract.check import check
    from heedful.contract.record import Contract, ContractReport
    from heedful.errors import HeedfulError
    from heedful.evaluation.doctor import doctor
    from heedful.evaluation.head_listing import heads
    from heedful.evaluation.result import Finding, Report
    from heedful.evaluation.settings import Margins, Settings
    from heedful.evaluation.validate import validate
    from heedful.inference.verdict import Verdict
    from heedful.interception.replace import replace
    from heedful.interception.session import Session, capture
    from heedful.interception.verify import verify
    from heedful.loading.documents import load_documents
    from heedful.loading.loaded_model import load_model
    from heedful.loading.model_types import register_models
    from heedful.loading.sequences import make_sequences
    from heedful.monitoring.contract_callback import ContractBroken, ContractCallback
    from heedful.monitoring.tracker.attention_tracker import AttentionTracker
    from heedful.monitoring.tracker.lightning_tracker import lightning_tracker
    from heedful.monitoring.tracker.table import read_table
    from heedful.monitoring.watch import watch
    from heedful.ngrams.alignment.align import align
    from heedful.ngrams.counting.count import count
    from heedful.ngrams.counting.reading import read_counts
    from heedful.ngrams.derivation.derive import derive
    from heedful.ngrams.explanation.explain import explain
    from heedful.ngrams.remedies.remedy import remedy

__version__ = "0.1.0"

_HOMES = {
    "heedful.attention.call": ("AttentionCall",),
    "heedful.attention.engines.groups": ("Groups",),
    "heedful.attention.engines.measure": ("measure",),
    "heedful.attention.engines.moments": ("Extras", "Moments"),
    "heedful.attention.visibility": ("bidirectional", "causal", "documents", "masked", "padding"),
    "heedful.comparison.compare_reports": ("compare",),
    "heedful.comparison.record": ("Comparison",),
    "heedful.compression.prune": ("prune",),
    "heedful.compression.quantize": ("quantize",),
    "heedful.contract.check": ("check",),
    "heedful.contract.record": ("Contract", "ContractReport"),
    "heedful.errors": ("HeedfulError",),
    "heedful.evaluation.doctor": ("doctor",),
    "heedful.evaluation.head_listing": ("heads",),
    "heedful.evaluation.result": ("Finding", "Report"),
    "heedful.evaluation.settings": ("Margins", "Settings"),
    "heedful.evaluation.validate": ("validate",),
    "heedful.inference.verdict": ("Verdict",),
    "heedful.interception.replace": ("replace",),
    "heedful.interception.session": ("Session", "capture"),
    "heedful.interception.verify": ("verify",),
    "heedful.loading.documents": ("load_documents",),
    "heedful.loading.loaded_model": ("load_model",),
    "heedful.loading.model_types": ("register_models",),
    "heedful.loading.sequences": ("make_sequences",),
    "heedful.monitoring.contract_callback": ("ContractBroken", "ContractCallback"),
    "heedful.monitoring.tracker.attention_tracker": ("AttentionTracker",),
    "heedful.monitoring.tracker.lightning_tracker": ("lightning_tracker",),
    "heedful.monitoring.tracker.table": ("read_table",),
    "heedful.monitoring.watch": ("watch",),
    "heedful.ngrams.alignment.align": ("align",),
    "heedful.ngrams.counting.count": ("count",),
    "heedful.ngrams.counting.reading": ("read_counts",),
    "heedful.ngrams.derivation.derive": ("derive",),
    "heedful.ngrams.explanation.explain": ("explain",),
    "heedful.ngrams.remedies.remedy": ("remedy",),
}

__all__ = [
    "AttentionCall",
    "AttentionTracker",
    "Comparison",
    "Contract",
    "ContractBroken",
    "ContractCallback",
    "ContractReport",
    "Extras",
    "Finding",
    "Groups",
    "HeedfulError",
    "Margins",
    "Moments",
    "Report",
    "Session",
    "Settings",
    "Verdict",
    "align",
    "bidirectional",
    "capture",
    "causal",
    "check",
    "compare",
    "count",
    "derive",
    "doctor",
    "documents",
    "explain",
    "heads",
    "lightning_tracker",
    "load_documents",
    "load_model",
    "make_sequences",
    "masked",
    "measure",
    "padding",
    "prune",
    "quantize",
    "read_counts",
    "read_table",
    "register_models",
    "remedy",
    "replace",
    "validate",
    "verify",
    "watch",
]


__getattr__ = loader(__name__, _HOMES, modules=("testing",))


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
