"""The possible verdicts of a finding."""

from enum import StrEnum


class Verdict(StrEnum):
    """Verdict of a finding. Only integrity claims, required claims and unused attention can give ``FAIL``."""

    PASS = "PASS"
    FAIL = "FAIL"
    WARN = "WARN"
    ABSENT = "ABSENT"
    INFO = "INFO"
    INSUFFICIENT = "INSUFFICIENT DATA"
    UNDEFINED = "UNDEFINED"
    SKIP = "SKIP"
    ERROR = "ERROR"
