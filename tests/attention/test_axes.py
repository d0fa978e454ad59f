"""Conventions that several rooms and the oracles share."""

from tests.oracles import attention_loops

from heedful.attention.axes import DISTANCE_EDGES, LAGS, LOCAL_DISTANCE, MIN_VISIBLE
from heedful.attention.engines.dense import LOG_FLOOR


def test_the_oracles_use_the_same_conventions() -> None:
    assert list(DISTANCE_EDGES) == attention_loops.BIN_EDGES
    assert attention_loops.NEAR == LOCAL_DISTANCE and attention_loops.LOG_FLOOR == LOG_FLOOR
    assert LAGS == (1, 10) and MIN_VISIBLE == 8
