"""The possible verdicts."""

from enum import StrEnum


class Verdict(StrEnum):
    """Verdicts of a finding. Only integrity claims, required claims and unused attention give ``FAIL``."""

    PASS = "PASS"
    FAIL = "FAIL"
    WARN = "WARN"
    ABSENT = "ABSENT"
    INFO = "INFO"
    INSUFFICIENT = "INSUFFICIENT DATA"
    UNDEFINED = "UNDEFINED"
    SKIP = "SKIP"
    ERROR = "ERROR"
