from pathlib import Path

import pytest
from tests.loading import material

from heedful.loading import hub
from heedful.loading.loaded_model import load_model


@pytest.mark.parametrize("name", ["gpt2", "owner/model-1.0", "a/b_c"])
def test_names_of_the_hub(name: str) -> None:
    assert hub.is_hub_name(name)


@pytest.mark.parametrize("name", ["/gpt2", "a/b/c", "../x", "./x", "a..b", "x.pt", "o/x.safetensors", "", "a b", "a\n"])
def test_other_words_are_paths(name: str) -> None:
    assert not hub.is_hub_name(name)


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
