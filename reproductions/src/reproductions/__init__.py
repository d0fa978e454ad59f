"""Published claims about attention, with code that tests each; ``python -P -m reproductions.answering`` judges them."""

from reproductions.answer import Answer, answer_of
from reproductions.deciding import above, below, beside, within
from reproductions.evidence import Measurements, NotMeasured
from reproductions.judging import Answered, judge
from reproductions.lines import claim_lines, print_claims
from reproductions.notes import NOTES, Note
from reproductions.published import CLAIMS, PublishedClaim, published, untested
from reproductions.stored import claims_document, stored_answers, write_answers

__all__ = [
    "CLAIMS",
    "NOTES",
    "Answer",
    "Answered",
    "Measurements",
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
