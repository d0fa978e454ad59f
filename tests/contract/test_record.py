from __future__ import annotations

from pathlib import Path

import pytest

from heedful.contract.record import Contract
from heedful.errors import UsageError


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("direction", "left", "expected one of causal, both"),
        ("pairing", "odd", "expected one of half, interleaved"),
        ("window", -1, "numbers of keys from 0"),
        ("window", [4, True], "numbers of keys from 0"),
        ("scale", 0.0, "finite number"),
        ("softcap", -1.0, "finite number"),
        ("theta", float("inf"), "finite number"),
        ("prefix", "3", "finite number"),
    ],
)
def test_a_promise_that_cannot_be_is_refused(field: str, value: object, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Contract(**{field: value})  # type: ignore[arg-type]


def test_a_contract_is_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "contract.toml"
    path.write_text('direction = "causal"\nwindow = [16, 0, 16]\nscale = 0.125\n')
    contract = Contract.read(path)
    assert (contract.direction, list(contract.window or []), contract.scale) == ("causal", [16, 0, 16], 0.125)  # type: ignore[arg-type]
    path.write_text("windows = 3\n")
    with pytest.raises(UsageError, match=r"no such promise: 'windows' \(known: direction, window"):
        Contract.read(path)
    path.write_text("window = \n")
    with pytest.raises(UsageError, match="expected a contract in TOML"):
        Contract.read(path)
    with pytest.raises(UsageError, match="expected a contract in TOML"):
        Contract.read(tmp_path / "none.toml")
