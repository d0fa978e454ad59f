"""What a judgement can answer."""

from enum import StrEnum


class Verdict(StrEnum):
    """Answers a finding can give. Only integrity, required and unused attention give ``FAIL``."""

    PASS = "PASS"
    FAIL = "FAIL"
    WARN = "WARN"
    ABSENT = "ABSENT"
    INFO = "INFO"
    INSUFFICIENT = "INSUFFICIENT DATA"
    UNDEFINED = "UNDEFINED"
    SKIP = "SKIP"
    ERROR = "ERROR"
