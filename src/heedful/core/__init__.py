"""Shared words of every room: calls, visibility, findings, registries and errors."""

from heedful.core.call import AttentionCall
from heedful.core.cards import Cards, HeadCard, Picture, Strongest
from heedful.core.errors import (
    CallError,
    CaptureError,
    HeedfulError,
    InputRejected,
    OutputError,
    RankLost,
    ResourceLimit,
    UnsupportedByEngine,
    UsageError,
)
from heedful.core.registry import CHECKS, STATISTICS, CheckFacts, StatisticFacts, check, statistic
from heedful.core.result import Finding, HeadRow, Report, Section, Verdict
from heedful.core.visibility import Visibility, bidirectional, causal, documents, masked, padding

__all__ = [
    "CHECKS",
    "STATISTICS",
    "AttentionCall",
    "CallError",
    "CaptureError",
    "Cards",
    "CheckFacts",
    "Finding",
    "HeadCard",
    "HeadRow",
    "HeedfulError",
    "InputRejected",
    "OutputError",
    "Picture",
    "RankLost",
    "Report",
    "ResourceLimit",
    "Section",
    "StatisticFacts",
    "Strongest",
    "UnsupportedByEngine",
    "UsageError",
    "Verdict",
    "Visibility",
    "bidirectional",
    "causal",
    "check",
    "documents",
    "masked",
    "padding",
    "statistic",
]
