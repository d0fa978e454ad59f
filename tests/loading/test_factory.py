"""A model that the user's own code builds: what is imported, what is refused, and what is put back."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.loading import material
from tests.loading.own_model import MODULE

from heedful.loading.factory import load_factory
from heedful.loading.loaded_model import LoadedModel

HERE = Path(__file__).parent


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with the user's package in it and a tokenizer beside."""
    package = tmp_path / "mine_for_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "gpt.py").write_text(MODULE)
    (package / "bad.py").write_text("import a_library_that_nobody_has\n")
    (package / "raising.py").write_text("1 / 0\n")
    material.make_tokenizer().save_pretrained(tmp_path / "words")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("mine_for_a_test")]:
        del sys.modules[name]


def load(function: str = "build", module: str = "mine_for_a_test.gpt", **more: Any) -> LoadedModel:
    return load_factory(f"{module}:{function}", **{"tokenizer": "words", **more})


def state(seed: int = 7) -> dict[str, torch.Tensor]:
    """Weights of another seed, the tied ones twice, as torch.save of a nanoGPT holds them."""
    model = load(seed=seed).model
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


def test_the_function_is_found_in_the_current_folder_and_the_path_is_put_back(folder: Path) -> None:
    before, drawn = list(sys.path), torch.get_rng_state()
    loaded = load()
    assert type(loaded.model).__name__ == "GPT" and not loaded.model.training
    assert (loaded.name, loaded.source, loaded.max_positions) == ("mine_for_a_test.gpt:build", "factory", 64)
    assert any("as the factory gave them" in note for note in loaded.notes)
    assert sys.path == before and torch.equal(drawn, torch.get_rng_state())


@pytest.mark.parametrize("function", ["build", "from_numpy"])
def test_it_builds_again_from_other_seeds_in_the_format_asked_for(
    function: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    drawn = np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state().tolist()
    loaded = load(function, seed=1, dtype="bfloat16")
    assert loaded.build is not None
    capfd.readouterr()
    one, same, other = (loaded.build(seed).lm_head.weight for seed in (1, 1, 2))
    assert capfd.readouterr() == ("", "")
    assert torch.equal(one, loaded.model.lm_head.weight) and one.dtype is torch.bfloat16
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert drawn == (np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state().tolist())


def test_the_seed_decides_random_weights(folder: Path) -> None:
    one, same, other = (load(seed=seed).model.lm_head.weight for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_what_the_code_prints_does_not_reach_standard_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load()
    out, err = capsys.readouterr()
    assert out == "" and "number of parameters" in err


@pytest.mark.parametrize("wrap", ["plain", "module.", "_orig_mod.", "model"])
def test_a_torch_archive_fills_it(wrap: str, folder: Path) -> None:
    wanted = state()
    saved: Any = {"model": wanted, "iter_num": 5} if wrap == "model" else wanted
    if wrap.endswith("."):
        saved = {wrap + key: tensor for key, tensor in wanted.items()}
    torch.save(saved, "weights.pt")
    loaded = load(checkpoint=Path("weights.pt"))
    assert all(torch.equal(value, wanted[key]) for key, value in loaded.model.state_dict().items())
    assert wrap == "plain" or any(wrap in note for note in loaded.notes)


def test_safetensors_fill_it_with_tied_weights_given_once(folder: Path) -> None:
    wanted = state()
    kept = {key: value for key, value in wanted.items() if not key.endswith((".attn.bias", "wte.weight"))}
    save_file(kept, "weights.safetensors")
    loaded = load(checkpoint=Path("weights.safetensors"), dtype="float64")
    assert all(torch.equal(value, wanted[key].double()) for key, value in loaded.model.state_dict().items())
    assert loaded.model.lm_head.weight.data_ptr() == loaded.model.transformer.wte.weight.data_ptr()


def test_a_folder_of_weights_with_its_tokenizer(folder: Path) -> None:
    wanted = state()
    (folder / "run").mkdir()
    torch.save(wanted, "run/pytorch_model.bin")
    material.make_tokenizer().save_pretrained(folder / "run")
    assert torch.equal(load(checkpoint=Path("run"), tokenizer=None).model.lm_head.weight, wanted["lm_head.weight"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("transformer.ln_f.weight"), "1 missing (transformer.ln_f.weight)"),
        (lambda s: s.update(more=torch.zeros(2)), "1 left over (more)"),
        (lambda s: s.update({"transformer.ln_f.weight": torch.ones(3)}), "transformer.ln_f.weight (3,) for (16,)"),
    ],
)
def test_weights_of_another_model_are_refused(change: Any, says: str, folder: Path) -> None:
    wrong = state()
    change(wrong)
    torch.save(wrong, "weights.pt")
    material.refused(lambda: load(checkpoint=Path("weights.pt")), 3, "weights.pt", says)


def test_a_pickle_is_refused_and_not_run(folder: Path) -> None:
    marker = folder / "marker"
    torch.save({"a": material.Payload(open, str(marker), "w")}, "weights.pt")
    material.refused(lambda: load(checkpoint=Path("weights.pt")), 3, "weights.pt")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("function", "module", "code", "says"),
    [
        ("build", "no_such_package.gpt", 2, "no module 'no_such_package'"),
        ("build", "mine_for_a_test.none", 2, "no module 'mine_for_a_test.none'"),
        ("nothing", "mine_for_a_test.gpt", 2, "has no 'nothing'"),
        ("number", "mine_for_a_test.gpt", 2, "expected a function, found a int"),
        ("sized", "mine_for_a_test.gpt", 2, "called without arguments"),
        ("build()", "mine_for_a_test.gpt", 2, "expected package.module:function"),
        ("build", "../mine_for_a_test/gpt.py", 2, "expected package.module:function"),
        ("build", "mine_for_a_test.bad", 3, "ModuleNotFoundError: No module named 'a_library_that_nobody_has'"),
        ("build", "mine_for_a_test.raising", 3, "raised, when imported, ZeroDivisionError"),
        ("broken", "mine_for_a_test.gpt", 3, "raised ValueError: no such size"),
        ("leaves", "mine_for_a_test.gpt", 3, "raised SystemExit"),
        ("a_dict", "mine_for_a_test.gpt", 3, "expected the function to return a torch.nn.Module, it returned a dict"),
        ("on_meta", "mine_for_a_test.gpt", 3, "parameters without data"),
    ],
)
def test_what_is_no_factory_is_refused(function: str, module: str, code: int, says: str, folder: Path) -> None:
    before = list(sys.path)
    material.refused(lambda: load(function, module), code, says)
    assert sys.path == before


def test_a_tokenizer_is_asked_for_before_any_code_is_run(folder: Path) -> None:
    material.refused(lambda: load("build", "mine_for_a_test.raising", tokenizer=None), 2, "--tokenizer")


def test_every_other_option_is_checked_before_any_code_is_run(folder: Path) -> None:
    material.refused(lambda: load(module="mine_for_a_test.raising", device="tpu"), 2, "device")
    material.refused(lambda: load(module="mine_for_a_test.raising", dtype="int8"), 2, "dtype")
    material.refused(lambda: load(module="mine_for_a_test.raising", allow_globals=("os.system",)), 2, "os.system")
