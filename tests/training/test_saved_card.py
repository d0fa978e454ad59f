"""The card beside a saved model says what to import, and what it says works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from transformers import PreTrainedModel

from heedful.gauge.model.gauge import GaugeForCausalLM
from heedful.gauge.model.gauge_config import GaugeConfig
from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM
from heedful.ngrams.derivation.model.derived_config import HeedfulDerivedConfig
from heedful.training.model.decoder import HeedfulDecoderForCausalLM
from heedful.training.model.decoder_config import HeedfulDecoderConfig
from heedful.training.saved_card import saved_card


def test_what_the_card_says_loads_the_model(tmp_path: Path) -> None:
    config = HeedfulDecoderConfig(vocab_size=11, hidden_size=24, num_hidden_layers=1)
    model = HeedfulDecoderForCausalLM(config)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text("utf-8") == saved_card(model)
    card = saved_card(model, "mine")
    code = card.split("```python\n")[1].split("```")[0].replace("FOLDER", str(tmp_path))
    made: dict[str, object] = {}
    exec(code, made)  # the card's own example
    assert type(made["model"]) is type(model) and "# mine" in card and "heedful_decoder" in card


def test_every_model_saves_a_card_and_keeps_the_one_that_stands_there(tmp_path: Path) -> None:
    for number, model in enumerate(models()):
        place = tmp_path / str(number)
        model.save_pretrained(place)
        card = (place / "README.md").read_text("utf-8")
        assert f"`{model.config.model_type}`" in card and "register_models()" in card
        (place / "README.md").write_text("mine", encoding="utf-8")
        model.save_pretrained(place)
        assert (place / "README.md").read_text("utf-8") == "mine"
        model.save_pretrained(tmp_path / "other", is_main_process=False)
    assert not (tmp_path / "other" / "README.md").exists()


def models() -> list[PreTrainedModel]:
    decoder = HeedfulDecoderConfig(vocab_size=11, hidden_size=24, num_hidden_layers=1)
    gauge = GaugeConfig(vocab_size=11, irreps="4x0e+1x1e", num_hidden_layers=1)
    derived = HeedfulDerivedConfig(vocab_size=11, hidden_size=16, num_hidden_layers=1, num_attention_heads=1)
    return [HeedfulDecoderForCausalLM(decoder), GaugeForCausalLM(gauge), HeedfulDerivedForCausalLM(derived)]


def test_import_stays_light() -> None:
    code = "import heedful, sys; print(sorted({'torch', 'transformers', 'e3nn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
