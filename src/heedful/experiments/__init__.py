"""Published claims, each from what was measured to findings; ``python -m heedful.experiments`` judges them."""

from heedful.experiments.answer import Answer, answer_of
from heedful.experiments.deciding import above, below, beside, within
from heedful.experiments.evidence import Evidence, NotMeasured
from heedful.experiments.judging import Answered, judge
from heedful.experiments.lines import claim_lines, print_claims
from heedful.experiments.notes import NOTES, Note
from heedful.experiments.published import CLAIMS, PublishedClaim, published, untested
from heedful.experiments.stored import claims_document, stored_answers, write_answers

__all__ = [
    "CLAIMS",
    "NOTES",
    "Answer",
    "Answered",
    "Evidence",
    "NotMeasured",
    "Note",
    "PublishedClaim",
    "above",
    "answer_of",
    "below",
    "beside",
    "claim_lines",
    "claims_document",
    "judge",
    "print_claims",
    "published",
    "stored_answers",
    "untested",
    "within",
    "write_answers",
]
