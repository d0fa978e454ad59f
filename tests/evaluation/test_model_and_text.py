"""A model and its text in every form, as the public functions take them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from heedful.errors import InputRejected, UsageError
from heedful.evaluation.model_and_text import ModelAndText, Reading, model_and_text, one_or_many, try_model
from heedful.loading.given_sequences import as_sequences
from heedful.loading.loaded_model import LoadedModel, load_model

TEXTS = ["In the beginning God created the heaven and the earth. " * 6, "And God said, Let there be light. " * 8]


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model()


def read(model: Any, sequences: Any = None, text: Any = None, tokenizer: Any = None, **words: Any) -> ModelAndText:
    return model_and_text(model, sequences, text, tokenizer, Reading(**{"seq_len": 16, "wanted": 4, **words}))


def test_text_is_read_alike_wherever_it_stands(loaded: LoadedModel, tmp_path: Path) -> None:
    place = tmp_path / "tokenizer.json"
    loaded.tokenizer.backend_tokenizer.save(str(place))  # type: ignore[union-attr]
    model, tokenizer = loaded.model, loaded.tokenizer
    wanted = read(model, tokenizer, TEXTS).sequences
    ways: list[Callable[[], ModelAndText]] = [
        lambda: read(model, TEXTS, tokenizer=tokenizer),
        lambda: read(model, text=TEXTS, tokenizer=tokenizer),
        lambda: read(model, str(place), TEXTS),
        lambda: read(model, tokenizer.backend_tokenizer, TEXTS),  # type: ignore[union-attr]
        lambda: read(loaded, TEXTS),
        lambda: read(loaded, text=TEXTS),
        lambda: read(None, TEXTS),
        lambda: read(None, 4, TEXTS),
        lambda: read(None, TEXTS, tokenizer=tokenizer),
    ]
    for way in ways:
        assert torch.equal(way().sequences.input_ids, wanted.input_ids)


def test_files_are_read_as_well(loaded: LoadedModel, tmp_path: Path) -> None:
    for number, text in enumerate(TEXTS):
        (tmp_path / f"{number}.txt").write_text(text)
    found = read(loaded, 3, [tmp_path / "0.txt", tmp_path / "1.txt"]).sequences
    assert {name[:5] for name in found.document_names} == {"0.txt", "1.txt"} and len(found.input_ids) == 3


def test_ids_are_taken_with_a_tokenizer_or_without(loaded: LoadedModel) -> None:
    ids = torch.randint(5, 200, (3, 9))
    assert torch.equal(read(loaded.model, ids).sequences.input_ids, ids)
    assert torch.equal(read(loaded.model, loaded.tokenizer, ids.numpy()).sequences.input_ids, ids)
    made = as_sequences(ids)
    assert read(loaded.model, made).sequences is made
    found = read(None, ids)
    assert found.name == "embedded default" and torch.equal(found.sequences.input_ids, ids)


def test_a_loaded_model_brings_its_name_and_notes(loaded: LoadedModel) -> None:
    found = read(loaded, 2)
    assert (found.name, found.notes, found.model) == (loaded.name, loaded.notes, loaded.model)


@pytest.mark.parametrize(
    ("given", "words", "told"),
    [
        ((), {}, "expected token ids, or a tokenizer for the text"),
        ((["a"],), {}, "expected token ids, or a tokenizer for the text"),
        ((True,), {}, "sequences: expected sequences, token ids, text"),
        ((0,), {}, "got 0"),
        ((None, 3), {}, "text: expected strings"),
        ((torch.ones(2, 5).long(), "a text"), {}, "expected token ids or text, got both"),
        ((torch.ones(2, 5).long(), torch.ones(2, 5).long()), {}, "text: expected token ids once, got twice"),
        ((torch.full((2, 5), 99_999),), {}, "expected ids below 2,048, which the model embeds; got 99,999"),
        ((torch.ones(2, 5).long(),), {"device": "cuda"}, "device: cuda: applies only to a model that heedful loads"),
        (
            (torch.ones(2, 5).long(),),
            {"config": "c.json"},
            "config: c.json: applies only to a model that heedful loads",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    loaded: LoadedModel, given: tuple[Any, ...], words: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        read(loaded.model, *given, **words)


@pytest.mark.parametrize(("model", "told"), [(3, "got int"), (nn.Linear, r"got the class Linear \(build it first\)")])
def test_what_is_no_model_is_refused(model: object, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read(model, torch.ones(2, 5).long())


def test_a_module_that_reads_no_tokens_is_refused_in_one_line() -> None:
    with pytest.raises(InputRejected, match="Linear: the model's forward raised on token ids"):
        read(nn.Linear(3, 3), torch.ones(2, 5).long())


@pytest.mark.parametrize("words", [{"seq_len": 0}, {"seq_len": "16"}, {"seed": -1}, {"seed": 1.5}])
def test_numbers_are_numbers(words: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected a whole number"):
        Reading(**words)


def test_one_value_is_a_list_of_one() -> None:
    assert one_or_many("a") == ("a",) and one_or_many(0.5) == (0.5,) and one_or_many(["a"]) == ("a",)
    assert one_or_many(None) == () and one_or_many(Path("a")) == (Path("a"),)


class Answering(nn.Module):
    """Returns what it is told to, as a function of the ids."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer, self.weight, self.seen = answer, nn.Parameter(torch.ones(1)), []

    def forward(self, idx: torch.Tensor, targets: torch.Tensor | None = None) -> Any:
        self.seen.append((self.training, targets is not None))
        return self.answer(idx)


SEQUENCES: Any = SimpleNamespace(
    input_ids=torch.arange(40).view(5, 8),
    attention_mask=torch.ones(5, 8, dtype=torch.long),
    special=torch.zeros(5, 8, dtype=torch.bool),
    punctuation=torch.zeros(5, 8, dtype=torch.bool),
)


def full(ids: torch.Tensor) -> torch.Tensor:
    return torch.zeros(*ids.shape, 48)


@pytest.mark.parametrize(
    "answer",
    [
        full,
        lambda ids: (full(ids), torch.zeros(())),
        lambda ids: SimpleNamespace(logits=full(ids)),
        lambda ids: {"last_hidden_state": full(ids)},
    ],
)
def test_logits_and_hidden_states_are_taken(answer: Any) -> None:
    model = Answering(answer).train()
    try_model(model, SEQUENCES, "mine")
    assert model.seen == [(False, True)] and model.training


def raising(ids: torch.Tensor) -> torch.Tensor:
    raise IndexError("index out of range\nin self")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda ids: None, "returned None"),
        (lambda ids: (), "a tuple of nothing"),
        (lambda ids: "words", "a str"),
        (lambda ids: (torch.zeros(()),), "a tuple of Tensor"),
        (lambda ids: torch.zeros(2, 48), "a tensor (2, 48) for token ids (2, 8)"),
        (lambda ids: full(ids)[:, -1:], "a tensor (2, 1, 48) for token ids (2, 8)"),
        (lambda ids: full(ids).long(), "a tensor (2, 8, 48)"),
        (raising, "forward raised on token ids (2, 8) up to 15: IndexError: index out of range in self"),
    ],
)
def test_anything_else_is_refused_in_one_line(answer: Any, says: str) -> None:
    model = Answering(answer).train()
    with pytest.raises(InputRejected) as caught:
        try_model(model, SEQUENCES, "mine")
    assert says in str(caught.value) and str(caught.value).startswith("mine: ") and "\n" not in str(caught.value)
    assert model.training
