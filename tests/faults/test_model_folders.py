"""S13, F05-F07: folders that bring code, and state dicts that do not fit."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.loading import material

from heedful.loading.loaded_model import load_model

pytestmark = pytest.mark.fault


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return material.save_model(tmp_path / "model")


def test_s13_code_beside_the_weights_is_never_run(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    evil = f"open({str(marker)!r}, 'w')\nclass Evil: pass\n"
    for name in ("evil.py", "modeling_evil.py", "custom_generate/generate.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(evil)
    auto = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForCausalLM"), "evil.Evil")
    material.rewrite(folder / "config.json", auto_map=auto, trust_remote_code=True, architectures=["Evil"])
    material.rewrite(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})
    loaded = load_model(folder)
    assert "config keys ignored: auto_map, trust_remote_code" in loaded.notes
    material.rewrite(folder / "config.json", model_type="evil")
    material.refused(lambda: load_model(folder), 3, "unknown model_type 'evil'", "never run")
    assert not marker.exists() and not any("evil" in name for name in sys.modules)


def test_s13b_a_pickled_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (folder / "model.safetensors").unlink()
    torch.save({"w": material.Payload(open, str(marker), "w")}, folder / "pytorch_model.bin")
    material.refused(lambda: load_model(folder), 3, "pytorch_model.bin", "io.open")
    assert not marker.exists()


@pytest.mark.parametrize(
    "key",
    [
        "attn_implementation",
        "_attn_implementation",
        "_attn_implementation_internal",
        "_experts_implementation_internal",
    ],
)
def test_s13c_a_kernel_named_by_the_config_is_ignored(key: str, folder: Path) -> None:
    material.rewrite(folder / "config.json", **{key: "attacker/kernel"})
    loaded = load_model(folder)
    assert f"config keys ignored: {key}" in loaded.notes
    assert loaded.model.config._attn_implementation == "sdpa"


def test_s13_weights_named_by_the_config_are_not_read(folder: Path, tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    material.rewrite(folder / "config.json", transformers_weights="../other.safetensors", fusion_config={"x": True})
    assert "config keys ignored: fusion_config, transformers_weights" in load_model(folder).notes


def test_s13_an_adapter_beside_the_weights_is_not_followed(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "attacker/model", "peft_type": "LORA"}')
    assert load_model(folder).model.num_parameters() == material.make_model().num_parameters()


def _state() -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in material.make_model().state_dict().items()}


def _load(state: object, folder: Path) -> object:
    _, config = material.save_checkpoint(folder, name="other.pt")
    torch.save(state, folder / "weights.pt")
    return load_model(folder / "weights.pt", config=config)


def test_f05_missing_left_over_and_misshapen_keys_are_told(tmp_path: Path) -> None:
    state = _state()
    missing = [key for key in state if key.startswith("transformer.h.1.")]
    state = {key: value for key, value in state.items() if key not in missing}
    state |= {f"transformer.h.{layer}.attn.c_proj.bias": torch.ones(16) for layer in range(5, 30)}
    state["transformer.wte.weight"] = state["lm_head.weight"] = torch.ones(7, 16)
    message = material.refused(lambda: _load(state, tmp_path), 3, "weights.pt")
    assert f"{len(missing)} missing" in message and "25 left over" in message and "(7, 16) for (45, 16)" in message
    assert "and 15 more" in message


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.float8_e4m3fn, torch.complex64])
def test_f05_weights_of_another_kind_are_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    state = _state()
    state["transformer.h.0.attn.c_attn.weight"] = state["transformer.h.0.attn.c_attn.weight"].to(dtype)
    material.refused(lambda: _load(state, tmp_path), 3, "transformer.h.0.attn.c_attn.weight")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "model."])
def test_f05_prefixes_of_wrappers_are_stripped_with_a_note(prefix: str, tmp_path: Path) -> None:
    loaded = _load({prefix + key: value for key, value in _state().items()}, tmp_path)
    assert any(f"stripped from {len(_state())} keys" in note for note in loaded.notes)  # type: ignore[attr-defined]


@pytest.mark.parametrize("nest", ["model_state_dict", "state_dict", "model"])
def test_f06_nested_state_dicts_are_found(nest: str, tmp_path: Path) -> None:
    state = {nest: _state(), "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}, "epoch": 1}
    assert any(nest in note for note in _load(state, tmp_path).notes)  # type: ignore[attr-defined]


def test_f06_a_lora_is_named_as_such(tmp_path: Path, folder: Path) -> None:
    adapter = {f"base_model.model.h.{i}.attn.c_attn.lora_{x}.weight": torch.ones(2, 2) for i in range(2) for x in "AB"}
    material.refused(lambda: _load(adapter, tmp_path), 3, "LoRA", "4 keys of 4", "merge")
    (folder / "model.safetensors").unlink()
    save_file(adapter, folder / "adapter_model.safetensors")
    material.refused(lambda: load_model(folder), 3, "LoRA", "merge")


def test_f06_an_absent_shard_is_named(tmp_path: Path) -> None:
    folder = material.save_model(tmp_path, shard="5KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    shards[1].unlink()
    material.refused(lambda: load_model(folder), 3, f"1 of {len(shards)} shards are missing: {shards[1].name}")


def test_f06_a_shard_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = material.save_model(tmp_path, shard="5KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    shards[1].write_bytes(shards[0].read_bytes())
    material.refused(lambda: load_model(folder), 3, "keys of an earlier shard")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 0.0, 1e-42])
def test_f07_strange_numbers_load_for_a_check_to_judge(value: float, folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state["transformer.h.0.attn.c_attn.weight"].fill_(value)
    save_file(state, folder / "model.safetensors")
    weight = load_model(folder).model.transformer.h[0].attn.c_attn.weight
    assert torch.equal(weight, torch.full_like(weight, value)) or bool(weight.isnan().all())
