"""The default model's recipe in numbers, and its model card."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from heedful.training.held_out_figures import FEWEST_KEYS, Figures

CARD = """\
---
language: en
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# heedful default model

A small Llama of the King James Bible: {parameters:,} parameters, {layers} layers of {heads} query heads and {kv_heads}
key-value heads each, so that `heedful` has a trained model and unseen text to work on where nothing can be downloaded.
It is made to be measured, not to be talked to.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # where this card lies
tokenizer = AutoTokenizer.from_pretrained(folder)  # sets <|begin|> before the text, as in training
model = AutoModelForCausalLM.from_pretrained(folder)
```

## Data

The King James Bible (1611, public domain) as Debian's package `bible-kjv` prints it, verse references taken off, one
verse a line, one chapter a document. {training:,} chapters ({training_tokens:,} tokens) were learnt from. {unseen}
chapters ({unseen_tokens:,} tokens, {unseen_bytes:,} bytes) were held out whole from tokenizer, model and rivals: one of
at least 2 KiB, drawn from every book that has such a chapter and another besides. They are `held_out.jsonl`, one
`{{"id", "text"}}` a line.

## Held-out loss

| model | nats per token | bits per byte |
|---|---:|---:|
| this model, windows of {length} tokens | {loss:.3f} | {bits:.3f} |
{rivals}

The rivals are n-gram models with interpolated modified Kneser-Ney smoothing (Chen and Goodman 1999), counted on the
same training chapters with the same tokenizer. The model starts anew every {length} tokens; the rivals see across those
borders. Weights are stored as float16 and load as float32; rounding moved the loss by {rounding:.1e} nats per token.

## Attention

Entropy of each query's attention as a share of its causal ceiling, the mean of `H_i / ln n_i` over queries that see
`n_i >= {fewest}` keys, on the first {length} tokens of each held-out chapter. Uniform attention reads 1.

| layer | mean of heads | lowest head | highest head |
|---:|---:|---:|---:|
{shares}

## Recipe

`python -P -m heedful.training.default_model --out DIR --seed {seed}`, with transformers' Trainer; the text needs
`apt-get install bible-kjv`.

Byte-level BPE tokenizer of {vocabulary:,} tokens; hidden size {hidden}, feed-forward {intermediate}, head size
{head_dim}, rotary positions, tied embeddings; AdamW, learning rate {learning_rate:g} with {warmup:.0%} warm-up and a
cosine to zero, weight decay {weight_decay:g}; {steps:,} steps of {batch} windows of {length} tokens, each behind
`<|begin|>`, packed over chapters and cut at a fresh offset every epoch: {seen:,} tokens, {epochs:.1f} epochs,
{minutes:.0f} minutes on a CPU. Settings were chosen on other chapters; the last step is what is shipped,
without a choice on the held-out text.

| step | tokens | training loss since the row above | held-out loss, whole windows |
|---:|---:|---:|---:|
{curve}

## Limits

- It knows one book of 1611 English. Other text is far from what it learnt, and reads as such.
- Trained on {length} tokens, which its config and tokenizer name as its limit. It runs beyond, and worse: windows of
  {twice} tokens give a held-out loss of {stretched:.3f} nats per token.
- It has met each chapter {epochs:.1f} times and knows them better than new text: compare the two losses above.
- Parts of the Bible repeat others nearly word for word (Kings and Chronicles, the Gospels, some Psalms), so a held-out
  chapter is not wholly new; this helps the rivals as well.
- Packed windows carry no mask between chapters: a training window may attend from one chapter into the one before it.
"""


@dataclass(frozen=True)
class DefaultModelSizes:
    """Sizes of the default model and settings of its training."""

    vocabulary: int = 2048
    hidden: int = 192
    layers: int = 4
    heads: int = 6
    kv_heads: int = 2
    intermediate: int = 512
    length: int = 256
    batch: int = 8
    steps: int = 4000
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    warmup_share: float = 0.05
    evaluations: int = 8
    seed: int = 0


def render_card(figures: Figures, recipe: DefaultModelSizes, log: list[dict[str, float]]) -> str:
    """Return the model card as Markdown.

    Args:
        figures: What was measured.
        recipe: What was done.
        log: The Trainer's log of it.

    Returns:
        The card.
    """
    window = recipe.batch * recipe.length
    return CARD.format(
        **vars(recipe),
        parameters=figures.parameters,
        head_dim=recipe.hidden // recipe.heads,
        training=figures.documents[0],
        unseen=figures.documents[1],
        training_tokens=figures.tokens[0],
        unseen_tokens=figures.tokens[1],
        unseen_bytes=figures.held_out_bytes,
        loss=figures.loss,
        bits=figures.bits_per_byte(figures.loss),
        rivals=_rows((f"{order}-gram", *_both(figures, loss)) for order, loss in figures.rivals.items()),
        rounding=abs(figures.loss - figures.loss_before_rounding),
        fewest=FEWEST_KEYS,
        shares=_rows(
            (layer, f"{math.fsum(heads) / len(heads):.2f}", f"{min(heads):.2f}", f"{max(heads):.2f}")
            for layer, heads in enumerate(figures.entropy_shares)
        ),
        warmup=recipe.warmup_share,
        seen=recipe.steps * window,
        epochs=recipe.steps * window / figures.tokens[0],
        minutes=sum(entry.get("train_runtime", 0.0) for entry in log) / 60,
        curve=_rows(_curve(log, window)),
        twice=2 * recipe.length,
        stretched=figures.loss_at_twice_the_length,
    )


def _both(figures: Figures, loss: float) -> tuple[str, str]:
    """A loss in nats per token and in bits per byte, as text."""
    return f"{loss:.3f}", f"{figures.bits_per_byte(loss):.3f}"


def _curve(log: list[dict[str, float]], window: int) -> Iterable[tuple[str, ...]]:
    """Step, tokens, training loss and held-out loss at each evaluation of a Trainer's log."""
    learnt = {entry["step"]: entry["loss"] for entry in log if "loss" in entry}
    for entry in log:
        if "eval_loss" in entry:
            step = int(entry["step"])
            yield f"{step:,}", f"{step * window:,}", f"{learnt.get(step, math.nan):.3f}", f"{entry['eval_loss']:.3f}"


def _rows(rows: Iterable[tuple[object, ...]]) -> str:
    """Lines of a Markdown table."""
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)
