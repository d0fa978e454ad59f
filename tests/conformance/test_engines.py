"""Each engine against dense, in each input precision, within tolerances that rounding itself sets.

The truth is dense on float64 inputs. An engine gets the same inputs rounded to the precision under test, so it may be
off by

* what one rounding of the inputs does: dense is run on several draws of the inputs, each element moved by a random
  share of one rounding of that precision, and the largest change of each moment over draws and rows is taken
  ``MULTIPLE`` times (the rounding that the engine really got is one more draw from the same distribution); and
* what arithmetic in the precision of the statistics (float32) does: ``tests/tolerances.py``, from an independent
  program run in that precision.

Nothing here was tuned to an engine: a new engine is one more name in ``ENGINES``. What it does not
claim it must refuse.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.cases import LENGTH, alibi, attention_call, document_ids, filled_to, random_mask, real_tokens, t5_bias
from tests.tolerances import DRAWS, assert_close, flat_moments, perturbed, tolerances

from heedful.attention.call import AttentionCall
from heedful.attention.engines.dense import dense
from heedful.attention.engines.measure import ENGINES
from heedful.attention.visibility import bidirectional, causal, documents, masked, padding
from heedful.errors import UnsupportedByEngine

MULTIPLE = 3
"""Largest of a few draws against one further draw, of rounding errors over some hundred rows."""

F64: dict[str, Any] = {"dtype": torch.float64}
CALLS = {
    "causal": lambda: attention_call(**F64),
    "bidirectional": lambda: attention_call(bidirectional(), heads=6, kv_heads=2, **F64),
    "padded": lambda: attention_call(causal() & padding(real_tokens((0, 9), (4, 0))), **F64),
    "window": lambda: attention_call(causal(window=12), **F64),
    "mask": lambda: attention_call(masked(random_mask(2, 1, LENGTH, LENGTH)), **F64),
    "alibi": lambda: attention_call(bias=alibi(4, LENGTH, LENGTH).double(), **F64),
    "t5_bias": lambda: attention_call(
        bidirectional(), scale=1.0, size=0.5, bias=t5_bias(4, LENGTH, LENGTH, is_causal=False).double(), **F64
    ),
    "softcap": lambda: attention_call(softcap=4.0, **F64),
    "sink": lambda: attention_call(sink=torch.tensor([-1.0, 0.0, 1.0, 3.0], dtype=torch.float64), **F64),
    "wide_values": lambda: attention_call(value_dim=19, **F64),
    "narrow_values": lambda: attention_call(dim=24, value_dim=16, heads=4, kv_heads=1, **F64),
    "packed": lambda: attention_call(causal() & documents(document_ids()), **F64),
    "one_query": lambda: attention_call(queries=1, keys=LENGTH, heads=4, kv_heads=2, **F64),
    "static_cache": lambda: filled_to(attention_call(causal(offset=20), queries=3, keys=LENGTH, **F64), 23),
    "cached": lambda: attention_call(queries=5, keys=LENGTH, **F64),
    "long": lambda: attention_call(batch=1, heads=2, queries=300, **F64),
}
REFUSED = {
    ("fused", "alibi"): "a finite bias",
    ("fused", "t5_bias"): "a finite bias",
    ("fused", "softcap"): "a softcap",
    ("fused", "sink"): "a learned sink",
}
"""Engines and calls that they do not claim, and the reason in words."""

CLAIMED = [(engine, call) for engine in ENGINES for call in CALLS if (engine, call) not in REFUSED]
INPUTS = ("query", "key", "value")


def rounded(call: AttentionCall, dtype: torch.dtype) -> AttentionCall:
    """The same call with inputs of another precision."""
    return replace(call, **{name: getattr(call, name).to(dtype) for name in INPUTS})


def allowed(call: AttentionCall, dtype: torch.dtype, engine: str = "tiled") -> dict[str, float]:
    """Tolerances of an engine that reads inputs of ``dtype`` and computes in float32."""
    truth = flat_moments(dense(call))
    generator = torch.Generator().manual_seed(8)
    worst = dict.fromkeys(truth, 0.0)
    for _ in range(DRAWS):
        moved: dict[str, Any] = {
            name: perturbed(getattr(call, name), torch.finfo(dtype).eps / 2, generator) for name in INPUTS
        }
        for name, value in flat_moments(dense(replace(call, **moved))).items():
            worst[name] = max(worst[name], float((value - truth[name]).nan_to_num().abs().max()))
    arithmetic = tolerances(call, torch.float32, engine=engine)
    return {name: MULTIPLE * worst[name] + arithmetic.get(name, 0.0) for name in truth}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("engine", "call"), [claim for claim in CLAIMED if claim[0] != "dense"])
def test_an_engine_is_dense_up_to_rounding(engine: str, call: str, dtype: torch.dtype) -> None:
    exact = CALLS[call]()
    assert_close(ENGINES[engine](rounded(exact, dtype), None), dense(exact), allowed(exact, dtype, engine))


@pytest.mark.parametrize(("engine", "call"), sorted(REFUSED))
def test_what_is_not_claimed_is_refused(engine: str, call: str) -> None:
    with pytest.raises(UnsupportedByEngine, match=f"engine '{engine}' cannot do .*{REFUSED[engine, call]}"):
        ENGINES[engine](rounded(CALLS[call](), torch.float32), None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("call", CALLS)
def test_rounded_inputs_are_read_exactly(call: str, dtype: torch.dtype) -> None:
    """Given the same rounded inputs, only float32 arithmetic is left to differ: nothing is computed in bfloat16."""
    given = rounded(CALLS[call](), dtype)
    for engine in (name for name, claimed in CLAIMED if claimed == call):
        limits = tolerances(given, torch.float32, engine=engine)
        assert_close(ENGINES[engine](given, None), dense(given), limits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("engine", ["tiled", "fused"])
def test_the_tolerances_bite(engine: str, dtype: torch.dtype) -> None:
    """An engine that gets the scale wrong by a few roundings, or forgets a key, is caught."""
    exact = CALLS["causal"]()
    limits = allowed(exact, dtype, engine)
    for wrong in (
        replace(exact, scale=exact.scale * (1 + 64 * torch.finfo(dtype).eps)),
        replace(exact, visibility=causal(window=LENGTH - 1)),
    ):
        with pytest.raises(AssertionError):
            assert_close(ENGINES[engine](rounded(wrong, dtype), None), dense(exact), limits)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_repeats_itself(engine: str) -> None:
    call = attention_call()
    first, second = ENGINES[engine](call, None), ENGINES[engine](call, None)
    assert all(torch.equal(a, b) or a.isnan().any() for a, b in zip(*map(_values, (first, second)), strict=True))
    for a, b in zip(*map(_values, (first, second)), strict=True):
        assert torch.equal(a.nan_to_num(), b.nan_to_num())


def _values(moments: object) -> list[torch.Tensor]:
    return list(flat_moments(moments).values())  # type: ignore[arg-type]
