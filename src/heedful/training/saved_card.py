"""The README.md saved beside every heedful model: what to import before transformers can load it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from heedful.reporting.write import write_atomic

CARD = """---
library_name: transformers
tags: [heedful]
---

# {name}

A model of type `{kind}`, which the Python package `heedful` adds to transformers. The weights come without code:
install heedful (`pip install heedful`) and register its models before the Auto classes load this one:

```python
import heedful
from transformers import AutoModelForCausalLM

heedful.register_models()
model = AutoModelForCausalLM.from_pretrained("FOLDER")
```

`heedful.load_model("FOLDER")` registers them by itself, and `heedful validate FOLDER` judges the model's attention.
`import heedful` alone loads neither torch nor transformers.
"""


def saved_card(model: Any, name: str = "") -> str:
    """Return the README.md of a saved model, in Markdown.

    Args:
        model: A model of transformers whose type heedful registers.
        name: Its title; the name of its class without it.

    Example:
        >>> from heedful.training.model.decoder import HeedfulDecoderForCausalLM
        >>> from heedful.training.model.decoder_config import HeedfulDecoderConfig
        >>> model = HeedfulDecoderForCausalLM(HeedfulDecoderConfig(vocab_size=9, hidden_size=24, num_hidden_layers=1))
        >>> "heedful.register_models()" in saved_card(model)
        True
    """
    return CARD.format(name=name or type(model).__name__, kind=model.config.model_type)


class CardedModel(PreTrainedModel):
    """Base class of heedful's models: ``save_pretrained`` writes a README.md where the folder has none."""

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Save config and weights as transformers does, and the card; a card that stands there is kept."""
        super().save_pretrained(save_directory, *args, **kwargs)
        card = Path(save_directory) / "README.md"
        if kwargs.get("is_main_process", True) and card.parent.is_dir() and not os.path.lexists(card):
            write_atomic(card, saved_card(self), overwrite=False)
