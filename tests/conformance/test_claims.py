"""Every registered claim has a stored answer in the same words, and every stored answer a registered claim."""

from __future__ import annotations

import reproductions.topics  # noqa: F401  (registers every claim)
from reproductions.answer import answer_of
from reproductions.published import CLAIMS
from reproductions.stored import stored_answers

from heedful.inference.verdict import Verdict


def test_stored_answers_are_those_of_the_registered_claims() -> None:
    stored = {one.name: one for one in stored_answers()}
    assert set(stored) == set(CLAIMS)
    for name, claim in CLAIMS.items():
        words = (claim.note, claim.section, claim.sentence, claim.figure)
        assert (stored[name].note, stored[name].section, stored[name].sentence, stored[name].figure) == words, name


def test_every_answer_follows_from_its_findings_which_carry_what_it_takes_to_disagree() -> None:
    for one in stored_answers():
        assert one.answer == answer_of(one.findings), one.name
        for finding in one.findings:
            assert finding.claim == one.name and finding.reason and finding.source, one.name
            if finding.verdict in (Verdict.PASS, Verdict.ABSENT):
                assert finding.estimate is not None, one.name
                identity = "identity" in finding.detail  # follows from a definition: nothing was drawn, so no interval
                assert bool(finding.n) != identity, one.name
                assert (finding.interval is None) == identity, one.name
