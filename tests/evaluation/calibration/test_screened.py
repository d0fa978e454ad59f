import pytest

from heedful.evaluation.calibration.screened import screened_rates

TRIALS = 12


@pytest.mark.parametrize("shape", ["normal", "skew 6"])
def test_ranking_on_some_documents_and_testing_on_others_keeps_its_promises(shape: str) -> None:
    wrong, missed, named = screened_rates(shape, TRIALS, 3)
    assert wrong.kept() and missed.kept() and named.kept()
    assert missed.share < 0.06 and named.share >= named.nominal


def test_testing_on_the_documents_that_ranked_is_caught() -> None:
    wrong, missed, _ = screened_rates("normal", TRIALS, 3, apart=False)
    assert not missed.kept() and missed.share > 0.07
    assert wrong.trials == TRIALS
