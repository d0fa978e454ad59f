"""Recipe of the default model: a small Llama trained on the King James Bible on one CPU thread within an hour.

Run it as ``python -P -m heedful.training.default_model --out DIR``. The folder it writes holds the model, its
tokenizer, the held-out chapters and a model card, and loads without a network.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
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
from heedful.training.held_out_figures import Figures, measure_figures
from heedful.training.king_james import Chapter, Split, hold_out, parse_chapters, read_king_james
from heedful.training.model_card import DefaultModelSizes, render_card
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
