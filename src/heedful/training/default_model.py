"""Recipe of the default model: a small Llama trained on the King James Bible on one CPU thread within an hour.

Run it as ``python -P -m heedful.training.default_model --out DIR``. The folder it writes holds the model, its
tokenizer, the held-out chapters and a model card, and loads without a network.

The default model's recipe in numbers, and its model card.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)

from heedful.errors import HeedfulError
from heedful.reporting.write import move_in, private_folder, write_atomic
from heedful.training.held_out_figures import FEWEST_KEYS, Figures, measure_figures
from heedful.training.king_james import Chapter, Split, hold_out, parse_chapters, read_king_james
from heedful.training.token_windows import PackedWindows, build_tokenizer, document_windows, encode, save_texts


def build_model(recipe: DefaultModelSizes, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return an untrained Llama with the recipe's sizes and seed."""
    set_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        head_dim=recipe.hidden // recipe.heads,
        intermediate_size=recipe.intermediate,
        max_position_embeddings=recipe.length,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def build_trainer(
    recipe: DefaultModelSizes, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, split: Split, folder: str
) -> Trainer:
    """Return the Trainer: AdamW, warm-up and cosine schedule, packed windows, held-out evaluation windows."""
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    watched = [
        {"input_ids": window, "labels": window}
        for document in encode(tokenizer, (chapter.text for chapter in split.held_out))
        for window in document_windows(document, recipe.length, begin)
        if len(window) == recipe.length
    ]
    every = max(1, recipe.steps // recipe.evaluations)
    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        adam_beta2=0.98,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(recipe.warmup_share * recipe.steps)),
        eval_strategy="steps",
        eval_steps=every,
        logging_steps=every,
        prediction_loss_only=True,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        seed=recipe.seed,
    )
    texts = encode(tokenizer, (chapter.text for chapter in split.training))
    windows = PackedWindows(texts, recipe.length, begin, end, recipe.seed)
    return Trainer(model=model, args=arguments, train_dataset=windows, eval_dataset=watched)


def train_default_model(recipe: DefaultModelSizes, split: Split, out: Path) -> Figures:
    """Train by the recipe and write the folder: float16 weights, tokenizer, held-out text, model card.

    Args:
        recipe: Sizes of the model and of its training.
        split: Chapters the tokenizer, the model and the n-gram rivals learn from, and those they are judged on.
        out: Folder to write; made if absent.

    Returns:
        What was measured on the folder as written.
    """
    tokenizer = build_tokenizer((chapter.text for chapter in split.training), recipe.vocabulary, recipe.length)
    model = build_model(recipe, tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(recipe, model, tokenizer, split, folder)
        trainer.train()
    save_folder(model, tokenizer, split.held_out, out)
    figures = measure_figures(model, tokenizer, split, recipe.length, out)
    write_atomic(out / "README.md", render_card(figures, recipe, trainer.state.log_history), overwrite=True)
    return figures


def save_folder(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, held_out: list[Chapter], out: Path
) -> None:
    """Write model, tokenizer and held-out text; weights are stored as float16 and load as float32."""
    out.mkdir(parents=True, exist_ok=True)
    halved = LlamaForCausalLM(model.config).half()
    halved.load_state_dict(model.state_dict())
    halved.config.use_cache = True  # training turned it off
    halved.generation_config = GenerationConfig.from_model_config(halved.config)
    with private_folder(out) as made:
        halved.save_pretrained(made)
        halved.config.dtype = torch.float32
        halved.config.save_pretrained(made)
        (made / "model.safetensors").chmod(0o644)
        tokenizer.save_pretrained(made)
        for file in sorted(made.iterdir()):
            move_in(file, out)
    save_texts(out / "held_out.jsonl", ((chapter.id, chapter.text) for chapter in held_out))


def steps_within(minutes: float, recipe: DefaultModelSizes, split: Split) -> int:
    """Estimate how many steps this machine can take in ``minutes``, from twenty trial steps."""
    trial = replace(recipe, steps=20, evaluations=1)
    tokenizer = build_tokenizer((chapter.text for chapter in split.training), recipe.vocabulary, recipe.length)
    model = build_model(trial, tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        outcome = build_trainer(trial, model, tokenizer, split, folder).train()
    return max(1, int(minutes * 60 * outcome.metrics["train_steps_per_second"]))


def main(arguments: list[str] | None = None) -> int:
    """Read the text, train and write the folder; return 0 on success."""
    parser = argparse.ArgumentParser(prog="python -P -m heedful.training.default_model", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--bible", type=Path, help="what bible -f 'gen1:1-rev22:21' printed; default: run the program")
    parser.add_argument("--minutes", type=float, help="train for about so long in place of the recipe's steps")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split, the weights and the windows")
    given = parser.parse_args(arguments)
    try:
        split = hold_out(parse_chapters(read_king_james(given.bible)), given.seed)
    except HeedfulError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    recipe = DefaultModelSizes(seed=given.seed)
    if given.minutes is not None:
        recipe = replace(recipe, steps=steps_within(given.minutes, recipe, split))
    train_default_model(recipe, split, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())


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
