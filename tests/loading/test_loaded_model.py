import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.loading import material

from heedful.errors import InputRejected
from heedful.loading import loaded_model
from heedful.loading.documents import load_documents
from heedful.loading.loaded_model import load_model
from heedful.loading.sequences import make_sequences


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_a_folder_is_loaded_whole(family: str, tmp_path: Path) -> None:
    loaded = load_model(material.save_model(tmp_path, family))
    expected = material.make_model(family)
    assert type(loaded.model) is type(expected) and not loaded.model.training
    assert loaded.source == "folder" and loaded.name == str(tmp_path) and loaded.tokenizer is not None
    ids = torch.arange(12)[None]
    torch.testing.assert_close(loaded.model(ids)[0], expected(ids)[0])
    assert loaded.vocab_size == len(loaded.tokenizer) and loaded.model.config._attn_implementation == "sdpa"


def test_gradients_are_asked_for_as_transformers_leaves_them(tmp_path: Path) -> None:
    loaded = load_model(material.save_model(tmp_path))
    assert all(parameter.requires_grad for parameter in loaded.model.parameters())


def test_limits_of_length(tmp_path: Path) -> None:
    gpt2, llama = (load_model(material.save_model(tmp_path / name, name)) for name in ("gpt2", "llama"))
    assert (gpt2.max_positions, gpt2.trained_positions) == (64, 64)
    assert (llama.max_positions, llama.trained_positions) == (None, 32)


def test_shards_are_loaded(tmp_path: Path) -> None:
    folder = material.save_model(tmp_path, shard="5KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert any("shards" in note for note in load_model(folder).notes)


def test_an_index_that_names_a_key_no_shard_holds_is_refused(tmp_path: Path) -> None:
    index = material.save_model(tmp_path, shard="5KB") / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["transformer.h.9.ghost"] = next(iter(content["weight_map"].values()))
    index.write_text(json.dumps(content))
    with pytest.raises(
        InputRejected, match=r"index\.json: names 1 keys that .* does not hold: transformer\.h\.9\.ghost"
    ):
        load_model(tmp_path)


def test_a_head_that_the_config_ties_and_the_file_does_not_is_noted(tmp_path: Path) -> None:
    model = material.make_model("gpt2")
    folder = material.save_model(tmp_path, "gpt2")
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    tensors["lm_head.weight"] = torch.randn_like(tensors["lm_head.weight"])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    loaded = load_model(folder)
    assert any("ties lm_head.weight" in note and "both were kept" in note for note in loaded.notes)
    torch.testing.assert_close(loaded.model.lm_head.weight, tensors["lm_head.weight"])


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors", "weights"])
def test_a_bare_checkpoint_with_its_config(name: str, tmp_path: Path) -> None:
    path, config = material.save_checkpoint(tmp_path, name=name)
    loaded = load_model(path, config=config)
    assert loaded.source == "checkpoint" and loaded.tokenizer is None
    assert any("tokenizer" in note for note in loaded.notes)
    ids = torch.arange(5)[None]
    torch.testing.assert_close(loaded.model(ids).logits, material.make_model()(ids).logits)


def test_configs_of_every_form_build_the_same_model(tmp_path: Path) -> None:
    path, config = material.save_checkpoint(tmp_path)
    keys = ("model_type", "vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "architectures")
    settings = {key: value for key, value in json.loads(config.read_text()).items() if key in keys}
    (tmp_path / "c.py").write_text("".join(f"{key} = {value!r}\n" for key, value in settings.items()))
    (tmp_path / "c.toml").write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    (tmp_path / "c.yaml").write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items()))
    for name in ("c.py", "c.toml", "c.yaml"):
        assert load_model(path, config=tmp_path / name).model.config.n_positions == 64


def test_a_checkpoint_inside_its_folder_finds_its_config(tmp_path: Path) -> None:
    loaded = load_model(material.save_model(tmp_path) / "model.safetensors")
    assert loaded.source == "checkpoint" and "config.json from the checkpoint's folder was read" in loaded.notes
    assert loaded.tokenizer is not None


def test_a_checkpoint_without_config_asks_for_one(tmp_path: Path) -> None:
    path, _ = material.save_checkpoint(tmp_path)
    material.refused(lambda: load_model(path), 2, "--config FILE")


def test_a_config_without_checkpoint_asks_for_one(tmp_path: Path) -> None:
    material.refused(lambda: load_model(config=tmp_path / "c.json"), 2, "no MODEL")


def test_another_tokenizer_can_be_named(tmp_path: Path) -> None:
    folder = material.save_model(tmp_path / "m", tokenizer=False)
    material.make_tokenizer().save_pretrained(tmp_path / "t")
    for place in (tmp_path / "t", str(tmp_path / "t" / "tokenizer.json")):
        assert load_model(folder, tokenizer=place).tokenizer is not None


def test_a_pickled_folder_goes_through_the_safe_loader(tmp_path: Path) -> None:
    folder = material.save_model(tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save(material.make_model().state_dict(), folder / "pytorch_model.bin")
    assert load_model(folder).source == "folder"


def test_dtypes(tmp_path: Path) -> None:
    folder = material.save_model(tmp_path)
    for name in ("float16", "bfloat16", "float64"):
        assert load_model(folder, dtype=name).model.dtype is getattr(torch, name)
    material.rewrite(folder / "config.json", dtype="bfloat16")
    assert load_model(folder).model.dtype is torch.float32


def test_loading_leaves_the_process_as_it_was(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = material.save_model(tmp_path)
    capfd.readouterr()
    before = torch.get_rng_state(), torch.get_default_dtype()
    load_model(folder, dtype="float64")
    assert torch.equal(before[0], torch.get_rng_state()) and torch.get_default_dtype() is before[1]
    assert capfd.readouterr() == ("", "")


def test_without_a_name_the_shipped_folder_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = material.save_model(tmp_path / "assets" / "default")
    lines = [json.dumps({"id": f"chapter {i}", "text": material.make_text(9, i)}) for i in range(20)]
    (folder / "held_out.jsonl").write_text("\n".join(lines))
    monkeypatch.setattr("heedful.loading.embedded_model.files", lambda package: tmp_path)
    loaded, documents = load_model(), load_documents()
    assert (loaded.name, loaded.source) == ("embedded default", "embedded")
    assert documents.names[0] == "chapter 0" and documents.origin == "embedded held-out text"


def test_the_embedded_model_is_there_or_said_to_be_missing() -> None:
    if not (files("heedful") / "assets" / "default" / "config.json").is_file():
        material.refused(load_model, 3, "no embedded model")
        return
    loaded = load_model()
    assert loaded.source == "embedded" and loaded.name == "embedded default"
    documents = load_documents()
    batch = make_sequences(
        documents, loaded.tokenizer, vocab_size=loaded.vocab_size, max_positions=loaded.max_positions
    )
    assert batch.input_ids.shape == (64, 128) and batch.attention_mask.all()
    assert loaded.model(batch.input_ids[:2]).logits.isfinite().all()


def test_a_checkpoint_without_a_head_loads_where_the_config_names_no_class(tmp_path: Path) -> None:
    path, config = material.save_checkpoint(tmp_path, "bert")
    material.rewrite(config, architectures=None)
    loaded = load_model(path, config=config)
    assert type(loaded.model).__name__ == "BertModel"
    assert any("no head in the checkpoint: BertModel built" in note for note in loaded.notes)
    material.rewrite(config, architectures=["BertForMaskedLM"])
    material.refused(lambda: load_model(path, config=config), 3, "missing (cls.predictions.bias")


def test_a_checkpoint_of_something_else_is_told_of_the_class_with_a_head(tmp_path: Path) -> None:
    path, config = material.save_checkpoint(tmp_path)
    settings = material.rewrite(config, architectures=None, n_layer=3)
    assert settings["n_layer"] == 3
    material.refused(lambda: load_model(path, config=config), 3, "do not make a GPT2LMHeadModel", "transformer.h.2")


@pytest.mark.parametrize("name", ["gpt2", "owner/model-1.0", "a/b_c"])
def test_names_of_the_hub(name: str) -> None:
    assert loaded_model.is_hub_name(name)


@pytest.mark.parametrize("name", ["/gpt2", "a/b/c", "../x", "./x", "a..b", "x.pt", "o/x.safetensors", "", "a b", "a\n"])
def test_other_words_are_paths(name: str) -> None:
    assert not loaded_model.is_hub_name(name)


def test_a_name_that_is_not_in_the_cache_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    material.refused(lambda: load_model("nobody/has-this-model"), 3, "nobody/has-this-model", "offline")


def test_a_cached_model_is_loaded_as_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    material.save_model(tmp_path)
    asked = {}

    def snapshot(name: str, **keywords: object) -> str:
        asked.update(keywords, name=name)
        return str(tmp_path)

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    loaded = load_model("owner/tiny")
    assert loaded.source == "hub" and loaded.name == "owner/tiny" and loaded.tokenizer is not None
    assert asked["local_files_only"] is True
    assert not any("bin" in pattern or ".py" in pattern or "pt" in pattern for pattern in asked["allow_patterns"])
