from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.compression.records import pruning, quantization

import heedful
from heedful.compression.order import Cuts
from heedful.compression.quantizer import Quantizer
from heedful.errors import UsageError

IDS = torch.arange(5, 85).reshape(4, 20)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    noted: dict[str, Any] = {}

    def note(name: str, result: Any) -> Any:
        return lambda model, sequences, **options: noted.update({name: options, "ids": sequences.input_ids}) or result

    monkeypatch.setattr("heedful.compression.quantize_keys.quantize_keys", note("quantize", quantization()))
    monkeypatch.setattr("heedful.compression.pruning.measure_pruning", note("prune", pruning()))
    return noted


def test_one_value_is_enough_for_each_word(calls: dict[str, Any]) -> None:
    loaded = heedful.load_model()
    found = heedful.quantize(loaded, IDS, bits=4, group="token", clip=99, rotation="before", name="mine")
    given = calls["quantize"]
    assert [one.name for one in given["quantizers"]] == ["4-bit token", "tensor clip 99", "4-bit tensor clip 99"]
    assert (given["stage"], given["name"]) == ("before", "mine") and torch.equal(calls["ids"], IDS)
    assert repr(found).startswith("Quantization(") and found.to_json().startswith("{")
    heedful.prune(loaded, IDS, part="heads", fraction=0.5, orders=3, each_alone=0)
    assert calls["prune"]["cuts"] == Cuts(parts=("heads",), fractions=(0.5,), orders=3, each_alone=0)
    heedful.prune(loaded, IDS)
    assert calls["prune"]["cuts"] == Cuts() and calls["prune"]["name"] == "embedded default"


def test_objects_stand_in_place_of_words_and_not_beside_them(calls: dict[str, Any]) -> None:
    loaded, tried = heedful.load_model(), [Quantizer(bits=2, group="token")]
    heedful.quantize(loaded, IDS, quantizers=tried)
    assert calls["quantize"]["quantizers"] is tried
    with pytest.raises(UsageError, match="got both"):
        heedful.quantize(loaded, IDS, quantizers=tried, bits=4)
    with pytest.raises(UsageError, match="orders: given twice: as an argument and in cuts"):
        heedful.prune(loaded, IDS, cuts=Cuts(), orders=3)
    with pytest.raises(UsageError, match="rotation: expected one of after, before"):
        heedful.quantize(loaded, IDS, rotation="none")
