"""Text of the README.md saved beside every heedful model: what to import before transformers can load it."""

from __future__ import annotations

from typing import Any

CARD = """---
library_name: transformers
tags: [heedful]
---

# {name}

A model of type `{kind}`, which [heedful](https://pypi.org/project/heedful/) adds to transformers. Its code is part of
heedful and does not come with the weights, so register it before the Auto classes can load it:

```python
import heedful
from transformers import AutoModelForCausalLM

heedful.register_models()
model = AutoModelForCausalLM.from_pretrained("FOLDER")
```

`heedful.load_model("FOLDER")` registers it by itself, and `heedful validate FOLDER` judges its attention. `import
heedful` alone loads neither torch nor transformers.
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
