"""The card beside a saved model says what to import, and what it says works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from heedful.training.model.decoder import HeedfulDecoderForCausalLM
from heedful.training.model.decoder_config import HeedfulDecoderConfig
from heedful.training.saved_card import saved_card


def test_what_the_card_says_loads_the_model(tmp_path: Path) -> None:
    config = HeedfulDecoderConfig(vocab_size=11, hidden_size=24, num_hidden_layers=1)
    model = HeedfulDecoderForCausalLM(config)
    model.save_pretrained(tmp_path)
    card = saved_card(model, "mine")
    code = card.split("```python\n")[1].split("```")[0].replace("FOLDER", str(tmp_path))
    made: dict[str, object] = {}
    exec(code, made)  # the card's own example
    assert type(made["model"]) is type(model) and "# mine" in card and "heedful_decoder" in card


def test_import_stays_light() -> None:
    code = "import heedful, sys; print(sorted({'torch', 'transformers', 'e3nn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
