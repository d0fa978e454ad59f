"""docs/how-to/packing.md: collators and trainers, attention implementations, caches: are packed documents isolated?

    python docs/packing.py            # needs trl beside heedful

Each row is `heedful.check` on a tiny Llama with the batch that the collator makes, as trainer or loop pass it.
"""

from __future__ import annotations

import importlib.metadata
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from heedful.contract.check import check

PLACE = Path(__file__).parent / "how-to" / "packing.md"
LENGTHS = (20, 24)
Batch = dict[str, Any]

HEAD = """\
# How to pack documents so that they do not see each other

To check a batch of your own, in a test or before a run:

```python
import heedful
from heedful.testing import assert_documents_isolated

assert_documents_isolated(model, batch)  # the batch as your own call passes it, use_cache=False with it
trainer = Trainer(..., callbacks=[heedful.ContractCallback()])  # the first batch of a run, as the trainer passes it
```

Where the batch itself does not say where documents begin, give their labels: `documents=`. It is not needed where
`position_ids` begin again.

## Check a padded batch

```python
from heedful.testing import assert_padding_unseen

report = heedful.check(model, batch, tokenizer=tokenizer)  # a note names rows of pad tokens that no mask marks
assert_padding_unseen(model, batch)                         # what the mask marks is seen by no query
```

## What each collator does

Made by `python docs/packing.py` with {versions}. A tiny Llama gets two
packed documents of 20 and 24 tokens from each collator, with the keywords that its trainer or loop passes. "leaking":
`heedful.check` finds that the second document's first query sees the first document, by the kernel's own weights and by
changing a token.

What holds for every collator: transformers reads documents out of `position_ids` that begin again, and only where
neither `attention_mask` nor a cache is given. Transformers' Trainer and trl pass `use_cache=False`; a plain loop does
not, and a model's default is a cache. Flash attention reads documents by rules of its own; it needs a GPU, and is not
among these rows.

| collator | keys of its batch | attention | cache | documents |
|---|---|---|---|---|
"""


def features() -> list[dict[str, list[int]]]:
    """Two documents as data sets hold them."""
    generator = torch.Generator().manual_seed(4)
    made = [torch.randint(3, 61, (length,), generator=generator).tolist() for length in LENGTHS]
    return [{"input_ids": one, "labels": one} for one in made]


def labels() -> torch.Tensor:
    """Which document each token of the packed row is of."""
    return torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))[None]


def collators() -> Iterator[tuple[str, str, Callable[[], Batch]]]:
    """Name, package, and what makes a batch."""
    from transformers import DataCollatorWithFlattening, default_data_collator

    tensors = {"return_tensors": "pt"}
    flash = {"return_flash_attn_kwargs": True}
    yield "DataCollatorWithFlattening", "transformers", lambda: DataCollatorWithFlattening(**tensors)(features())
    yield (
        "DataCollatorWithFlattening(return_flash_attn_kwargs=True, return_position_ids=False)",
        "transformers",
        lambda: DataCollatorWithFlattening(**flash, return_position_ids=False, **tensors)(features()),
    )
    yield (
        "DataCollatorWithFlattening(return_flash_attn_kwargs=True)",
        "transformers",
        lambda: DataCollatorWithFlattening(**flash, **tensors)(features()),
    )
    joined = [token for one in features() for token in one["input_ids"]]
    whole = {"input_ids": joined, "attention_mask": [1] * len(joined), "labels": joined}
    yield (
        "texts joined to blocks (run_clm), default_data_collator",
        "transformers",
        lambda: default_data_collator([whole]),
    )
    yield from _trl(joined)


def _trl(joined: list[int]) -> Iterator[tuple[str, str, Callable[[], Batch]]]:
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    yield (
        "trl DataCollatorForLanguageModeling(padding_free=True), packing='bfd'",
        "trl",
        lambda: DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)(
            [{"input_ids": joined, "labels": joined, "seq_lengths": list(LENGTHS)}]
        ),
    )
    yield (
        "trl DataCollatorForLanguageModeling, packing='wrapped'",
        "trl",
        lambda: DataCollatorForLanguageModeling(pad_token_id=0)([{"input_ids": joined, "labels": joined}]),
    )


def model_of(implementation: str) -> Any:
    """A tiny Llama, always the same."""
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=61,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        initializer_range=0.1,
    )
    torch.manual_seed(3)
    return transformers.LlamaForCausalLM._from_config(config, attn_implementation=implementation).eval()


def rows() -> list[str]:
    """The table, a line each."""
    made = []
    for name, package, make in collators():
        try:
            batch = dict(make())
        except TypeError as error:
            sys.stderr.write(f"left out: {name}: {error}\n")
            continue
        keys = ", ".join(f"`{key}`" for key in batch if key not in ("input_ids", "labels"))
        for implementation in ("sdpa", "eager"):
            for cache in (False, True):
                report = check(model_of(implementation), {**batch, "use_cache": cache}, documents=labels())
                leaks = any(one.promise == "documents" for one in report.broken)
                answer = "**leaking**" if leaks else "isolated"
                word = "default" if cache else "no"
                made.append(
                    f"| {package}: {name.removeprefix('trl ')} | {keys or '-'} | {implementation} | {word} | {answer} |"
                )
    return made


def main() -> None:
    """Write the page."""
    warnings.simplefilter("ignore")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("transformers", "trl", "torch"))
    PLACE.write_text(HEAD.format(versions=versions) + "\n".join(rows()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
