"""Irreps in both notations, and what is refused."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import pytest
import torch

from heedful.errors import UsageError
from heedful.gauge.frames import generators
from heedful.gauge.irreps import parse_irreps
from heedful.gauge.layout import BeliefLayout


@pytest.mark.parametrize(
    "given",
    [
        "5x0e + 3x1e + 1x2e",
        "5x0e+3x1e+2e",
        [("l0", 5, 1), ("l1", 3, 3), ("l2", 1, 5)],
        (["ℓ0", 5, 1], ["ℓ1", 3, 3], ["ℓ2", 1, 5]),
        "[('ℓ0',5,1),('ℓ1',3,3),('ℓ2',1,5)]",
        " ('l0', 5, 1), ('l1', 3, 3), ('l2', 1, 5)",
    ],
)
def test_both_notations_mean_the_same(given: Any) -> None:
    irreps = parse_irreps(given)
    assert str(irreps) == "5x0e+3x1e+1x2e" and str(parse_irreps(str(irreps))) == str(irreps)
    assert (irreps.dim, irreps.heads) == (19, 9)
    assert irreps.labels == ("l0",) * 5 + ("l1",) * 3 + ("l2",)
    assert irreps.dims == (1,) * 5 + (3,) * 3 + (5,)
    assert irreps.slices == (slice(0, 5), slice(5, 14), slice(14, 19))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("5x0e + 3x", "irreps '5x0e [+] 3x': cannot be read; expected copies, 'x', l and 'e'"),
        ("spin", "irreps 'spin': cannot be read"),
        ("3x1o", "parity means nothing under rotations alone: write 1e"),
        ("", "irreps '': expected at least one"),
        ("0x1e", "expected at least one copy of each, got 0 of l = 1"),
        ("1x12e", "expected l of at most 11, got 12"),
        ([("l1", 3, 4)], r"irreps: \('l1', 3, 4\) has 4 dimensions; those of SO\(3\) are odd"),
        ([("l1", 3, 5)], r"names l = 1, which has 3 dimensions, not 5"),
        ([("l1", 3)], r"expected \(label, copies, dimensions\) as in \('l1', 3, 3\), got \('l1', 3\)"),
        ([("l1", 2.5, 3)], "expected .label, copies, dimensions."),
        (7, "irreps 7: expected '5x0e"),
        ("[('l0', 5, 1)", "expected a list of .label, copies, dimensions., "),
        ("[__import__('os')]", "expected a list of .label, copies, dimensions., "),
    ],
)
def test_what_is_no_irrep_is_refused_in_one_line(wrong: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        parse_irreps(wrong)
    assert "\n" not in str(caught.value)


def test_without_e3nn_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name.startswith("e3nn"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    for name in [name for name in sys.modules if name.startswith("e3nn")]:
        monkeypatch.delitem(sys.modules, name)
    generators.cache_clear()
    for call in (lambda: parse_irreps("1x0e"), lambda: parse_irreps([("l0", 1, 1)]), lambda: generators(1)):
        with pytest.raises(UsageError, match=r"gauge: needs e3nn, .* \(pip install 'heedful\[gauge\]'\)") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_columns_belong_to_heads_and_come_back() -> None:
    from heedful.gauge.layout import TokenBeliefs

    for covariance, variances, shears in (("isotropic", 9, 0), ("diagonal", 19, 0), ("full", 19, 19)):
        layout = BeliefLayout(parse_irreps("5x0e + 3x1e + 1x2e"), covariance)
        assert (layout.variances, layout.shears) == (variances, shears)
        parts = [torch.randn(2, 4, columns) for columns in (19, variances, shears)]
        tokens = TokenBeliefs(parts[0], parts[1], parts[2] if shears else None)
        groups = layout.groups(tokens)
        assert [tuple(group.mean.shape) for group in groups] == [(2, 5, 4, 1), (2, 3, 4, 3), (2, 1, 4, 5)]
        assert torch.equal(groups[1].mean[:, 2], tokens.mean[..., 11:14])
        again = layout.tokens(groups)
        assert torch.equal(again.mean, parts[0]) and torch.equal(again.log_variance, parts[1])
        assert (again.shear is None) == (not shears) and (not shears or torch.equal(again.shear, parts[2]))
    with pytest.raises(UsageError, match="covariance 'round': expected one of"):
        BeliefLayout(parse_irreps("1x0e"), "round")
